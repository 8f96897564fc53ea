const { execFileSync, spawn } = require("child_process");
const crypto = require("crypto");
const fs = require("fs");
const os = require("os");
const path = require("path");
const zlib = require("zlib");
const { Worker } = require("worker_threads");

(async () => {
  const code = "require('worker_threads').parentPort.postMessage(36)";
  const answers = await Promise.all(
    [1, 2].map(() => new Promise((done) => new Worker(code, { eval: true }).on("message", done))),
  );
  console.log("threads", answers.join());
  console.log("subprocess", execFileSync("/bin/echo", ["child"]).toString().trim());
  const later = spawn("/bin/sh", ["-c", "echo later"]);
  console.log("spawn", await new Promise((done) => later.stdout.on("data", (data) => done(data.toString().trim()))));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "note-"));
  await fs.promises.writeFile(path.join(folder, "note"), "kept");
  console.log("tempfile", fs.readFileSync(path.join(folder, "note"), "utf8"));
  console.log("digest", crypto.createHash("sha256").update("x").digest("hex").slice(0, 8));
  console.log("zlib", zlib.gunzipSync(zlib.gzipSync("round")).toString());
  const key = await new Promise((done) => crypto.pbkdf2("a", "b", 1000, 4, "sha256", (_, k) => done(k)));
  console.log("pbkdf2", key.length);
  const bytes = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 5, 3, 1, 0, 1]);
  await WebAssembly.instantiate(bytes);
  console.log("wasm", new WebAssembly.Memory({ initial: 2 }).buffer.byteLength);
  await new Promise((done) => setTimeout(done, 5));
  console.log("intl", new Intl.NumberFormat("de-DE").format(1234.5), os.availableParallelism() > 0);
})();
