const { word } = require("./lib/part");

console.log(word(), process.argv.slice(2).join("|"), process.env.GREETING);
