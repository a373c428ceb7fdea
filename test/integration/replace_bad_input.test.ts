/** What is wrong with a call of ReplaceMember or UpdateClusterSettings: status and reason, at the leader as at a follower. */
import { status } from "@grpc/grpc-js";
import {
  MembershipServiceService,
  UpdateClusterSettingsRequest,
} from "../../src/generated/muster/v1/membership_service";
import type { ReplaceMemberRequest } from "../../src/generated/muster/v1/membership_service";
import { TestCluster, refusal } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { rawCall } from "./support/peer";

jest.setTimeout(60_000);

const { ABORTED, ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND } = status;
const NOWHERE = "http://127.0.0.1:1";

let cluster: TestCluster;
let leader: TestMember;
let follower: TestMember;
let revision: bigint | undefined;
let goneId: string;

beforeAll(async () => {
  cluster = await TestCluster.start(3);
  leader = await cluster.stable();
  const [first] = await cluster.followers();
  if (first === undefined) throw new Error("no follower");
  follower = first;
  const gone = await leader.addMember({ name: "gone", peerUrl: NOWHERE });
  goneId = gone.member?.id ?? "";
  await leader.deleteMember({ name: "gone" });
  revision = (await leader.getMembers()).header?.revision;
});
afterEach(async () => {
  expect((await leader.getMembers()).header?.revision).toBe(revision);
});
afterAll(() => cluster.stop());

const idOf = (name: string): string => leader.roster.memberByName(name)?.id.toString(16) ?? "";
const urlOf = (name: string): string => cluster.member(name).config.peerUrl;
const NEW = { newName: "n9", peerUrl: NOWHERE };

describe("ReplaceMember", () => {
  type Given = Partial<ReplaceMemberRequest>;
  const rows: [string, () => Given, status, string, string[]][] = [
    ["nobody named", () => NEW, INVALID_ARGUMENT, "INVALID_REQUEST", ["name"]],
    ["an empty request", () => ({}), INVALID_ARGUMENT, "INVALID_REQUEST", ["name"]],
    ["a bad name", () => ({ ...NEW, name: " " }), INVALID_ARGUMENT, "INVALID_REQUEST", ["name"]],
    ["id 0", () => ({ ...NEW, id: "0" }), INVALID_ARGUMENT, "INVALID_REQUEST", ["id"]],
    [
      "an id of 17 digits",
      () => ({ ...NEW, id: "10000000000000000" }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
      ["id"],
    ],
    ["no such name", () => ({ ...NEW, name: "nobody" }), NOT_FOUND, "MEMBER_NOT_FOUND", []],
    ["no such id", () => ({ ...NEW, id: "8000000000000000" }), NOT_FOUND, "MEMBER_NOT_FOUND", []],
    ["a removed name", () => ({ ...NEW, name: "gone" }), NOT_FOUND, "MEMBER_REMOVED", []],
    ["a removed id", () => ({ id: goneId }), NOT_FOUND, "MEMBER_REMOVED", []],
    [
      "a name and another's id",
      () => ({ ...NEW, name: "n1", id: idOf("n2") }),
      FAILED_PRECONDITION,
      "MEMBER_MISMATCH",
      [],
    ],
    [
      "a bad new name",
      () => ({ ...NEW, name: "n1", newName: "a/b" }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
      ["new_name"],
    ],
    [
      "a new name that is too long",
      () => ({ ...NEW, name: "n1", newName: "x".repeat(129) }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
      ["new_name"],
    ],
    [
      "a new name that exists",
      () => ({ ...NEW, name: "n1", newName: "n2" }),
      ALREADY_EXISTS,
      "MEMBER_NAME_EXISTS",
      [],
    ],
    [
      "no URL with a new name",
      () => ({ name: "n1", newName: "n9" }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
      ["peer_url"],
    ],
    [
      "bad URLs",
      () => ({ name: "n1", newName: "n9", peerUrl: "n9:1", adminUrl: "http://n9/x" }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
      ["peer_url", "admin_url"],
    ],
    [
      "the old one's URL",
      () => ({ name: "n1", newName: "n9", peerUrl: urlOf("n1") }),
      ALREADY_EXISTS,
      "PEER_URL_EXISTS",
      [],
    ],
    [
      "another's URL",
      () => ({ name: "n1", newName: "n9", peerUrl: urlOf("n2") }),
      ALREADY_EXISTS,
      "PEER_URL_EXISTS",
      [],
    ],
    ["in place, in contact", () => ({ name: "n2" }), FAILED_PRECONDITION, "MEMBER_IN_CONTACT", []],
    [
      "in place by id, in contact",
      () => ({ id: idOf("n3"), newName: "n3" }),
      FAILED_PRECONDITION,
      "MEMBER_IN_CONTACT",
      [],
    ],
    ["in place, the leader", () => ({ name: leader.name }), FAILED_PRECONDITION, "MEMBER_IN_CONTACT", []],
    [
      "another revision",
      () => ({ ...NEW, name: "n1", expectedRevision: 1n }),
      ABORTED,
      "REVISION_MISMATCH",
      [],
    ],
    [
      "a revision of 2^63",
      () => ({ ...NEW, name: "n1", expectedRevision: 2n ** 63n }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
      ["expected_revision"],
    ],
    [
      "a bad note and request id",
      () => ({ ...NEW, name: "n1", note: "a\nb", requestId: "x".repeat(65) }),
      INVALID_ARGUMENT,
      "INVALID_REQUEST",
      ["note", "request_id"],
    ],
  ];
  test.each(rows)("%s", async (_, request, code, reason, fields) => {
    for (const at of [leader, follower]) {
      for (const validateOnly of [false, true]) {
        const error = await refusal(at.replaceMember({ ...request(), validateOnly }), code, reason);
        expect(error.violations.map(({ field }) => field).sort()).toEqual([...fields].sort());
      }
    }
  });
});

describe("UpdateClusterSettings", () => {
  const { updateClusterSettings } = MembershipServiceService;
  const of = (seconds: bigint, nanos = 0) => ({ seconds, nanos });

  test.each([
    ["less than a second", of(0n, 999_999_999)],
    ["less than nothing", of(-1n)],
    ["more than 365 days", of(365n * 86_400n, 1_000_000)],
    ["2^63 - 1 seconds", of(2n ** 63n - 1n)],
    ["-2^63 seconds", of(-(2n ** 63n))],
    ["nanoseconds of another sign", of(5n, -1)],
    ["more nanoseconds than a second has", of(5n, 1_000_000_000)],
  ])("%s", async (_, time) => {
    for (const at of [leader, follower]) {
      const both = { standbyTakeoverAfter: time, removeUnstartedAfter: time, autoPromote: false };
      const error = await refusal(at.updateSettings(both), INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(error.violations.map(({ field }) => field)).toEqual([
        "standby_takeover_after",
        "remove_unstarted_after",
      ]);
      expect(error.violations[0]?.description).toBe("must be 0, or from 1 s to 365 days");
    }
  });

  test("nothing given, another revision, 2^63", async () => {
    for (const at of [leader, follower]) {
      const nothing = await refusal(at.updateSettings({}), INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(nothing.violations.map(({ field }) => field)).toEqual(["auto_promote"]);
      await refusal(
        at.updateSettings({ autoPromote: false, expectedRevision: 1n }),
        ABORTED,
        "REVISION_MISMATCH",
      );
      const far = at.updateSettings({ autoPromote: false, expectedRevision: 2n ** 63n });
      const { violations } = await refusal(far, INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(violations.map(({ field }) => field)).toEqual(["expected_revision"]);
    }
  });

  test("a request id that another call used", async () => {
    await leader.updateSettings({ autoPromote: true, requestId: "used" });
    const other = follower.updateSettings({ autoPromote: false, requestId: "used" });
    await refusal(other, INVALID_ARGUMENT, "REQUEST_ID_REUSED");
    const another = follower.replaceMember({ name: "n1", ...NEW, requestId: "used" });
    await refusal(another, INVALID_ARGUMENT, "REQUEST_ID_REUSED");
  });

  test("bytes that are no request", async () => {
    const given = Buffer.from(
      UpdateClusterSettingsRequest.encode(
        UpdateClusterSettingsRequest.fromPartial({ standbyTakeoverAfter: of(5n) }),
      ).finish(),
    );
    for (const bytes of [given.subarray(0, -1), Buffer.from("ffff", "hex")]) {
      expect(await rawCall(follower.config.adminUrl, updateClusterSettings.path, bytes)).toMatchObject({
        code: INVALID_ARGUMENT,
        reason: "INVALID_REQUEST",
      });
    }
  });
});
