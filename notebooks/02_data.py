# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The data
#
# One flat table holds everything a shop saw: who, what, how and when.

# %% tags=["remove-cell"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("rclrec_mini") is None:  # in Colab; takes a minute
    source = "git+https://github.com/rclrec-mini/rclrec_mini"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

# %% [markdown]
# Behaviours are numbered in the order of the funnel.

# %%
from rclrec_mini.data.schema import BEHAVIORS, INTERACTIONS

dict(enumerate(BEHAVIORS))

# %% [markdown]
# A row of the table is one event.

# %%
INTERACTIONS
