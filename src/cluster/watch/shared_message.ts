/** A message that is the same for every watch at one revision, term and leader: encoded once for each of them. */
import { WatchMembersResponse } from "../../generated/muster/v1/membership_service";
import type { ResponseHeader } from "../../generated/muster/v1/membership_service";
import type { ReplicaView } from "../../replica/view";
import { responseHeader } from "../response_header";

type Part = WatchMembersResponse["part"];

export class SharedMessage {
  private encoded: Buffer | null = null;
  private revision = 0;
  private term = 0;
  private leader = 0n;

  constructor(
    private readonly replica: Pick<ReplicaView, "id" | "clusterId" | "term" | "leader" | "roster">,
    private readonly part: (header: ResponseHeader) => Part,
  ) {}

  /** The message as it is now. */
  get bytes(): Buffer {
    const { roster, term, leader } = this.replica;
    const { revision } = roster;
    const isCurrent = revision === this.revision && term === this.term && leader === this.leader;
    if (this.encoded !== null && isCurrent) return this.encoded;
    this.revision = revision;
    this.term = term;
    this.leader = leader;
    const header = responseHeader(this.replica, revision);
    const response = { header, part: this.part(header) };
    return (this.encoded = Buffer.from(WatchMembersResponse.encode(response).finish()));
  }
}
