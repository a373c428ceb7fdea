/**
 * The member's log: pino, JSON by default, pretty on a terminal.
 *
 * Ids are hex as everywhere else. The events an operator looks for (leader changes, membership changes, refusals) have
 * one form each, at info, with member id, term and index.
 */
import { pino } from "pino";
import type { Logger as Pino } from "pino";
import pretty from "pino-pretty";
import { NO_NODE } from "../raft/index";
import type { NodeId } from "../raft/index";
import { formatId } from "../roster/index";
import type { Decision } from "../roster/index";
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import type { LogFields, TransportLog } from "../base/log";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LeaderChange {
  readonly term: number;
  readonly index: number;
  readonly leader: NodeId;
  readonly isSelf: boolean;
}

export interface AppliedCommand {
  readonly term: number;
  readonly index: number;
  readonly command: RosterCommand;
  readonly decision: Decision;
}

export interface Logger extends TransportLog {
  error(fields: LogFields, text: string, err?: Error): void;
  leaderChange(change: LeaderChange): void;
  applied(applied: AppliedCommand): void;
  refusal(fields: {
    readonly rpc: string;
    readonly reason: string;
    readonly text: string;
    readonly term: number;
    readonly index: number;
  }): void;
}

/** A logger that drops everything, for tests and simulations. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  leaderChange: () => undefined,
  applied: () => undefined,
  refusal: () => undefined,
};

/** The product's logger, to standard error: standard output stays free for what a command prints. */
export function createLogger(name: string, level: LogLevel): Logger {
  const base = { name: "muster", member_name: name };
  const stream = process.stderr.isTTY
    ? pretty({ destination: 2, sync: true, ignore: "pid,hostname,name" })
    : pino.destination({ dest: 2, sync: true });
  return fromPino(pino({ level, base, timestamp: pino.stdTimeFunctions.isoTime }, stream));
}

export function fromPino(sink: Pino): Logger {
  return {
    debug: (fields, text) => {
      if (sink.isLevelEnabled("debug")) sink.debug(plain(fields), text);
    },
    info: (fields, text) => {
      sink.info(plain(fields), text);
    },
    warn: (fields, text) => {
      sink.warn(plain(fields), text);
    },
    error: (fields, text, err) => {
      sink.error({ ...plain(fields), ...(err === undefined ? {} : { err }) }, text);
    },
    leaderChange: ({ term, index, leader, isSelf }) => {
      if (leader === NO_NODE) sink.info({ term, index }, "no leader");
      else
        sink.info({ leader: formatId(leader), term, index }, isSelf ? "this member leads" : "leader changed");
    },
    applied: (applied) => {
      logApplied(sink, applied);
    },
    refusal: (fields) => {
      sink.info(fields, "refused");
    },
  };
}

function logApplied(sink: Pino, { term, index, command, decision }: AppliedCommand): void {
  const kind = command.body?.$case ?? "unknown";
  if (!decision.accepted) {
    const { reason, message } = decision.refusal;
    sink.info({ command: kind, reason, text: message, term, index }, "refused in apply");
    return;
  }
  if (decision.repeated || !decision.changed) {
    sink.debug({ command: kind, term, index }, "applied without change");
    return;
  }
  const { member } = decision;
  const who = member === null ? {} : { id: formatId(member.id), member: member.name };
  // Admin URLs may change often and change nothing in the cluster itself.
  const level = kind === "updateAdminUrls" ? "debug" : "info";
  sink[level]({ command: kind, ...who, term, index }, "membership changed");
}

function plain(fields: LogFields): Record<string, string | number | boolean> {
  const out: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(fields)) {
    out[key] = typeof value === "bigint" ? formatId(value) : value;
  }
  return out;
}
