/** The bounds of one listener, and how many connections it may have where few files may be open. */
import { WAIT_MS_MAX } from "../base/deadline";

export interface ListenerLimits {
  /**
   * Most connections that are open at once; the newest one beyond is closed at once. Where the process may have few files
   * open, fewer are taken: see connectionsWithin. Raise it where more clients than this keep a connection; lower it to
   * bound memory (about 50 KiB for each).
   * @default 4096
   */
  readonly connectionsMax: number;
  /**
   * A connection without an open call for this long is closed, in milliseconds. Clients open another one by themselves.
   * Raise it where clients call seldom and connecting is slow; lower it where many clients come once and stay.
   * @default 300000
   */
  readonly idleMs: number;
  /**
   * Most calls that are open on one connection at once (HTTP/2's SETTINGS_MAX_CONCURRENT_STREAMS); a client holds the
   * next ones back. Raise it where one client makes more calls at once and can't open more connections; lower it to
   * bound the memory of one connection, where each call may wait with a whole request.
   * @default 4096: as many as may wait on a member
   */
  readonly callsPerConnectionMax: number;
  /**
   * The longest that one call may wait, in milliseconds; a longer deadline is cut to this. Raise it for callers that can't
   * ask again; lower it to free the places of those that wait sooner.
   * @default 300000 (base/deadline.ts)
   */
  readonly waitMsMax: number;
}

export const DEFAULT_LISTENER_LIMITS: ListenerLimits = {
  connectionsMax: 4096,
  idleMs: 5 * 60 * 1000,
  callsPerConnectionMax: 4096,
  waitMsMax: WAIT_MS_MAX,
};

/**
 * Files that connections to the listeners leave free: for the log and its snapshots, the connections to other members
 * (up to three for each), and the process itself.
 */
const FILES_RESERVED = 128;
/** A member has two listeners, which share what is left. */
const LISTENERS = 2;
/** Fewer would shut out the other members of the smallest cluster. */
const CONNECTIONS_MIN = 8;

/** How many connections one listener may have. @param filesMax that the process may have open; null: not known */
export function connectionsWithin(connectionsMax: number, filesMax: number | null): number {
  if (filesMax === null) return connectionsMax;
  const reserved = Math.min(FILES_RESERVED, filesMax / 2);
  return Math.min(connectionsMax, Math.max(CONNECTIONS_MIN, Math.floor((filesMax - reserved) / LISTENERS)));
}
