// A ledger: reads movements of money, refuses what cannot be, prints what is left.
import { readFileSync } from "node:fs";

class Refused extends Error {}

type Movement =
  | { verb: "deposit"; to: string; amount: number }
  | { verb: "withdraw"; from: string; amount: number }
  | { verb: "transfer"; from: string; to: string; amount: number };

function parse(line: string): Movement {
  const [verb, ...rest] = line.split(" ");
  const amount = Number(rest.pop());
  if (verb === "deposit" && rest.length === 1) return { verb, to: rest[0], amount };
  if (verb === "withdraw" && rest.length === 1) return { verb, from: rest[0], amount };
  if (verb === "transfer" && rest.length === 2) return { verb, from: rest[0], to: rest[1], amount };
  throw new Refused(`cannot read "${line}"`);
}

class Ledger {
  private readonly accounts = new Map<string, number>();

  apply(movement: Movement): void {
    switch (movement.verb) {
      case "deposit":
        return this.add(movement.to, movement.amount);
      case "withdraw":
        return this.take(movement.from, movement.amount);
      case "transfer":
        this.take(movement.from, movement.amount);
        this.add(movement.to, movement.amount);
    }
  }

  rows(): [string, number][] {
    return [...this.accounts].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  private add(name: string, amount: number): void {
    this.accounts.set(name, (this.accounts.get(name) ?? 0) + amount);
  }

  private take(name: string, amount: number): void {
    const held = this.accounts.get(name) ?? 0;
    if (held < amount) throw new Refused(`${name} has only ${held}`);
    this.add(name, -amount);
  }
}

const ledger = new Ledger();
const lines: string[] = readFileSync(0, "utf8").trimEnd().split("\n");
lines.forEach((line, index) => {
  try {
    ledger.apply(parse(line));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    console.log(`line ${index + 1}: ${error.message}`);
  }
});
for (const [name, amount] of ledger.rows()) console.log(name, amount);
console.log("total", ledger.rows().reduce((sum, [, amount]) => sum + amount, 0));
