"""From items to semantic ids: item vectors, quantisers, and the catalogue with its prefix trie."""
