// Submits a program, shows its output while it runs, and ends with the verdict.
//
//   node submit_and_watch.js                 a first program
//   node submit_and_watch.js FILE LANGUAGE   one of your own
//
// SENTINEL_ENDPOINT names the service; default localhost:8080.
'use strict';

const fs = require('node:fs');
const { Sentinel } = require('./sentinel');

const FIRST_PROGRAM = `import time
for n in range(1, 4):
    print(f"line {n}", flush=True)
    time.sleep(0.3)
`;

async function main([file, language = 'python']) {
  const sentinel = new Sentinel(process.env.SENTINEL_ENDPOINT || 'localhost:8080');
  const source_code = file ? fs.readFileSync(file, 'utf8') : FIRST_PROGRAM;
  const { job_id } = await sentinel.submit({ language, source_code });
  console.error(`job ${job_id}`);

  let attempt = 0;
  for await (const event of sentinel.watch(job_id)) {
    if (event.attempt > attempt && attempt > 0) console.error('an executor was lost; the program starts again');
    attempt = Math.max(attempt, event.attempt);
    if (event.kind === 'snapshot') console.error(event.snapshot.status);
    if (event.kind === 'status') console.error(event.status.status);
    if (event.kind === 'output') {
      (event.output.stream === 'STREAM_STDOUT' ? process.stdout : process.stderr).write(event.output.data);
    }
    if (event.kind === 'result') process.exitCode = verdict(event.result.submission);
  }
  sentinel.close();
}

function verdict(submission) {
  const { status, evidence, failure } = submission;
  const why = failure ? failure.message : evidence ? evidence.explanation : '';
  const used = evidence ? `${evidence.wall_time_ms.toFixed(0)} ms wall, ${evidence.cpu_time_ms.toFixed(0)} ms CPU` : '';
  console.error([status, used, why].filter(Boolean).join(' · '));
  return status === 'SUCCESS' ? 0 : 1;
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`${error.message}`);
  process.exitCode = 2;
});
