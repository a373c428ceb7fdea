/**
 * Load by h2load (nghttp2), where it is installed: a client in C, which leaves more processor time to the servers than
 * the client in Node. It repeats one request, so it can be used for reads only. It ignores gRPC's status, so the bytes
 * of the responses are counted instead: an error has none.
 */
import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { type Call, type LoadResult, Recorder } from "./client";
import { removeFolder, temporaryFolder } from "./processes";

/** A gRPC message frame: not compressed, length, message. */
function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function execute(file: string, args: readonly string[], limitMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      args,
      { timeout: limitMs, killSignal: "SIGKILL", maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`h2load: ${error.message} ${stderr}`));
      },
    );
  });
}

function numberIn(output: string, pattern: RegExp): number {
  const match = pattern.exec(output);
  if (match?.[1] === undefined) throw new Error(`h2load printed something unexpected:\n${output}`);
  return Number(match[1]);
}

/**
 * Sends `call` on one connection for `seconds`.
 * @param answerBytes the length of the message of a successful response
 */
export async function h2load(
  file: string,
  address: string,
  call: Call,
  answerBytes: number,
  options: { readonly inFlight: number; readonly seconds: number; readonly warmUpSeconds: number },
): Promise<LoadResult> {
  const folder = temporaryFolder("h2load");
  try {
    const [body, log] = [path.join(folder, "body"), path.join(folder, "log")];
    fs.writeFileSync(body, frame(call.body(0)));
    const output = await execute(
      file,
      [
        ...["--clients", "1", "--threads", "1", "--max-concurrent-streams", String(options.inFlight)],
        ...["--duration", String(options.seconds), "--warm-up-time", String(options.warmUpSeconds)],
        ...["--header", "content-type: application/grpc", "--header", "te: trailers"],
        ...["--data", body, "--log-file", log, `http://${address}${call.path}`],
      ],
      (options.seconds + options.warmUpSeconds) * 1000 + 20_000,
    );
    const recorder = new Recorder();
    let cutOff = 0;
    for (const line of fs.readFileSync(log, "utf8").split("\n")) {
      // Start time, HTTP status, microseconds. Status 0: not answered before the end of the run.
      const [, status, micros] = line.split("\t");
      if (status === "200" && micros !== undefined) recorder.record(Number(micros) / 1000);
      else if (status === "0" && cutOff < options.inFlight) cutOff += 1;
      else if (line !== "") recorder.fail(`HTTP status ${status ?? "missing"}`);
    }
    const succeeded = numberIn(output, /, (\d+) succeeded/);
    const dataBytes = numberIn(output, /\((\d+)\) data/);
    // Counted by bytes, because a refusal has HTTP status 200 too. The length varies a little with the header's numbers.
    const wholeAnswers = Math.round(dataBytes / (answerBytes + 5));
    if (wholeAnswers < succeeded * 0.98) recorder.fail(`${succeeded - wholeAnswers} answers were errors`);
    const result = recorder.result(options.seconds * 1000);
    return { ...result, callsPerSecond: succeeded / options.seconds };
  } finally {
    removeFolder(folder);
  }
}
