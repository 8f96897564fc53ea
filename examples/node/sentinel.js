// A small client of Sentinel: the .proto files are read as they are, nothing is generated.
'use strict';

const crypto = require('node:crypto');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTO = path.resolve(__dirname, '../../proto');
const RESUME_DELAY_MS = 200;
const RESUME_TRIES = 50;

const definition = protoLoader.loadSync(
  ['sentinel/v1/scheduler.proto', 'sentinel/v1/status.proto', 'google/rpc/error_details.proto'],
  {
    includeDirs: [PROTO, path.join(PROTO, 'third_party')],
    keepCase: true, // names as the proto and REST have them
    enums: String,
    defaults: true,
    oneofs: true, // `event.kind` says which kind an event is
  },
);
const api = grpc.loadPackageDefinition(definition).sentinel.v1;

class Sentinel {
  constructor(endpoint) {
    const credentials = grpc.credentials.createInsecure();
    const options = { 'grpc.max_receive_message_length': 64 * 1024 * 1024 };
    this.scheduler = new api.SchedulerService(endpoint, credentials, options);
    this.status = new api.StatusService(endpoint, credentials, options);
  }

  // Accepts durably and answers at once. The key makes it safe to ask again when no answer came.
  submit(program) {
    const request = { idempotency_key: crypto.randomUUID(), ...program };
    return new Promise((resolve, reject) => {
      this.scheduler.Submit(request, { deadline: Date.now() + 10_000 }, (error, receipt) =>
        error ? reject(error) : resolve(receipt),
      );
    });
  }

  // Yields every event once and in order, the result last. A broken line is resumed after the last sequence seen.
  async *watch(jobId) {
    let after = 0;
    let began = false;
    let tries = 0;
    for (;;) {
      const call = this.status.WatchSubmission({ job_id: jobId, after_sequence: after });
      try {
        for await (const { event } of call) {
          tries = 0;
          after = Math.max(after, event.sequence);
          if (event.kind === 'snapshot' && began) continue;
          began = true;
          yield event;
          if (event.kind === 'result') return;
        }
      } catch (error) {
        if (error.code !== grpc.status.UNAVAILABLE || ++tries > RESUME_TRIES) throw error;
        await new Promise((resume) => setTimeout(resume, RESUME_DELAY_MS));
      } finally {
        call.cancel();
      }
    }
  }

  close() {
    this.scheduler.close();
    this.status.close();
  }
}

module.exports = { Sentinel };
