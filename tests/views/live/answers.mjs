// node answers.mjs ENGINE EXPORT < questions: the answer to each, with the encoder's states, or the error's message.
import { readFileSync } from "node:fs";

const { createEngine } = await import(process.argv[2]);
const engine = createEngine(JSON.parse(readFileSync(process.argv[3])));
const answers = JSON.parse(readFileSync(0)).map((question) => {
  try {
    const answer = engine.answer(question);
    const list = engine.list(question);
    return { ...answer, list, states: Array.from(engine.read(question).states),
      selectors: engine.selectors(question.model) };
  } catch (error) {
    return { error: error.message };
  }
});
process.stdout.write(JSON.stringify(answers));
