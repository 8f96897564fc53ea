// What TypeScript is told of Node.js: the globals with types, the modules as `any`. Debian packages no @types/node.

interface Console {
  log(...data: any[]): void;
  info(...data: any[]): void;
  debug(...data: any[]): void;
  warn(...data: any[]): void;
  error(...data: any[]): void;
  table(data: any, columns?: string[]): void;
  dir(item: any, options?: any): void;
  time(label?: string): void;
  timeEnd(label?: string): void;
  assert(condition?: boolean, ...data: any[]): void;
  trace(...data: any[]): void;
  group(...label: any[]): void;
  groupEnd(): void;
  count(label?: string): void;
}
declare var console: Console;

declare namespace NodeJS {
  type Timeout = any;
  type Timer = any;
  type Immediate = any;
  type ReadableStream = any;
  type WritableStream = any;
  interface ErrnoException extends Error {
    errno?: number;
    code?: string;
    path?: string;
    syscall?: string;
  }
  interface ProcessEnv {
    [name: string]: string | undefined;
  }
  interface Process {
    argv: string[];
    env: ProcessEnv;
    exitCode: number | undefined;
    pid: number;
    platform: string;
    arch: string;
    version: string;
    versions: Record<string, string>;
    stdin: any;
    stdout: any;
    stderr: any;
    cwd(): string;
    chdir(directory: string): void;
    exit(code?: number): never;
    abort(): never;
    kill(pid: number, signal?: string | number): true;
    uptime(): number;
    memoryUsage(): Record<string, number>;
    cpuUsage(previous?: any): { user: number; system: number };
    hrtime: { (previous?: [number, number]): [number, number]; bigint(): bigint };
    nextTick(callback: (...args: any[]) => void, ...args: any[]): void;
    on(event: string, listener: (...args: any[]) => void): this;
    once(event: string, listener: (...args: any[]) => void): this;
  }
}
declare var process: NodeJS.Process;

declare var Buffer: any;
type Buffer = any;
declare var global: typeof globalThis & Record<string, any>;
declare var module: { exports: any; children: any[] };
declare var exports: any;
declare var require: { (id: string): any; main: any; resolve(id: string): string };
declare var __dirname: string;
declare var __filename: string;

declare function setTimeout(callback: (...args: any[]) => void, ms?: number, ...args: any[]): NodeJS.Timeout;
declare function setInterval(callback: (...args: any[]) => void, ms?: number, ...args: any[]): NodeJS.Timeout;
declare function setImmediate(callback: (...args: any[]) => void, ...args: any[]): NodeJS.Immediate;
declare function clearTimeout(timeout?: NodeJS.Timeout): void;
declare function clearInterval(timeout?: NodeJS.Timeout): void;
declare function clearImmediate(immediate?: NodeJS.Immediate): void;
declare function queueMicrotask(callback: () => void): void;
declare function structuredClone<T>(value: T): T;

declare var performance: any;
declare var TextEncoder: any;
declare var TextDecoder: any;
declare var URL: any;
declare var URLSearchParams: any;
declare var AbortController: any;
declare var AbortSignal: any;
declare var EventTarget: any;
declare var Event: any;
declare var WebAssembly: any;
declare var crypto: any;
declare var fetch: any;
declare function atob(data: string): string;
declare function btoa(data: string): string;

declare module "node:*";
declare module "assert";
declare module "assert/strict";
declare module "async_hooks";
declare module "buffer";
declare module "child_process";
declare module "cluster";
declare module "crypto";
declare module "dgram";
declare module "dns";
declare module "events";
declare module "fs";
declare module "fs/promises";
declare module "http";
declare module "https";
declare module "net";
declare module "os";
declare module "path";
declare module "perf_hooks";
declare module "process";
declare module "querystring";
declare module "readline";
declare module "readline/promises";
declare module "stream";
declare module "stream/promises";
declare module "string_decoder";
declare module "timers";
declare module "timers/promises";
declare module "tty";
declare module "url";
declare module "util";
declare module "v8";
declare module "vm";
declare module "worker_threads";
declare module "zlib";
