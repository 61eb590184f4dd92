// What a tagger's page runs.

import { Tagger } from "./tag.mjs";

const make = (parts, facts, tables) => new Tagger(parts, facts, tables);
const answer = (program, text) => program.tag(text);
