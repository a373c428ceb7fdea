/**
 * What the commands that change members print.
 */
import type { Member, ResponseHeader } from "../client";
import { memberTable, printable } from "./output";

/** One sentence about the change, and the members after it. */
export function changedText(
  verb: string,
  {
    member,
    members,
    header,
  }: {
    readonly member: Member | undefined;
    readonly members?: readonly Member[];
    readonly header: ResponseHeader | undefined;
  },
): string {
  const who = `${printable(member?.name ?? "")} (${printable(member?.id ?? "")})`;
  const first = `${verb} member ${who} at revision ${String(header?.revision ?? 0n)}\n`;
  return members === undefined ? first : `${first}\n${memberTable(members, header?.leaderId ?? "")}`;
}

/** What a dry run found. */
export function possibleText(verb: string, { member }: { readonly member: Member | undefined }): string {
  return `member ${printable(member?.name ?? "")} can be ${verb}`;
}

/** The command line that starts the added member. */
export function startHint(added: Member, members: readonly Member[]): string {
  const cluster = members
    .flatMap((member) => member.peerUrls.map((url) => `${member.name}=${url}`))
    .join(",");
  const lines = [
    "start it, with an empty data directory and the admin URL of your choice:",
    `  muster server --name ${added.name} --peer-url ${added.peerUrls.join(",")} \\`,
    `    --admin-url ${added.adminUrls[0] ?? "URL"} --data-dir ${added.name}.data \\`,
    `    --initial-cluster-state existing --initial-cluster ${cluster}`,
  ];
  return `${lines.map(printable).join("\n")}\n`;
}
