import { execFileSync } from "child_process";
import * as crypto from "crypto";
import fs from "fs";
import * as os from "node:os";
import * as path from "path";
import { Worker } from "worker_threads";

const later = (ms: number): Promise<number> => new Promise((done) => setTimeout(() => done(ms), ms));

async function main(): Promise<void> {
  const code = "require('worker_threads').parentPort.postMessage(36)";
  console.log("threads", await new Promise((done) => new Worker(code, { eval: true }).on("message", done)));
  console.log("subprocess", execFileSync("/bin/echo", ["child"]).toString().trim());
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "note-"));
  await fs.promises.writeFile(path.join(folder, "note"), "kept");
  console.log("tempfile", fs.readFileSync(path.join(folder, "note"), "utf8"));
  console.log("digest", crypto.createHash("sha256").update("x").digest("hex").slice(0, 8));
  console.log("timer", await later(5), Buffer.from("ü").length);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
