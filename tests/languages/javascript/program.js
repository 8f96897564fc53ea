// A ledger: reads movements of money, refuses what cannot be, prints what is left.
"use strict";

const { createInterface } = require("node:readline");

class Refused extends Error {}

class Ledger {
  #accounts = new Map();

  deposit(name, amount) {
    this.#accounts.set(name, this.#held(name) + amount);
  }

  withdraw(name, amount) {
    if (this.#held(name) < amount) throw new Refused(`${name} has only ${this.#held(name)}`);
    this.#accounts.set(name, this.#held(name) - amount);
  }

  transfer(from, to, amount) {
    this.withdraw(from, amount);
    this.deposit(to, amount);
  }

  apply(line) {
    const [verb, ...rest] = line.split(" ");
    const amount = Number(rest.pop());
    if (verb === "deposit" && rest.length === 1) this.deposit(...rest, amount);
    else if (verb === "withdraw" && rest.length === 1) this.withdraw(...rest, amount);
    else if (verb === "transfer" && rest.length === 2) this.transfer(...rest, amount);
    else throw new Refused(`cannot read "${line}"`);
  }

  *[Symbol.iterator]() {
    yield* [...this.#accounts].sort(([a], [b]) => a.localeCompare(b));
  }

  get total() {
    return [...this.#accounts.values()].reduce((sum, amount) => sum + amount, 0);
  }

  #held(name) {
    return this.#accounts.get(name) ?? 0;
  }
}

(async () => {
  const ledger = new Ledger();
  let number = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    number += 1;
    try {
      ledger.apply(line);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      console.log(`line ${number}: ${error.message}`);
    }
  }
  for (const [name, amount] of ledger) console.log(name, amount);
  console.log("total", ledger.total);
})();
