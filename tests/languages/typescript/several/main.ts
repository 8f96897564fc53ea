import { word } from "./lib/part";

console.log(word(), process.argv.slice(2).join("|"), process.env.GREETING);
