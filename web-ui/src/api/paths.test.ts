import { expect, test } from "vitest";
import { paths } from "./paths.ts";

test("all dead letters are settled only where that is said, and a kind of them without it", () => {
  expect(paths.deadLettersAction("discard", {}, null)).toBe("/v1/dead-letters/discard?all=true");
  expect(paths.deadLettersAction("replay", {}, "17")).toBe("/v1/dead-letters/replay?all=true&cursor=17");
  const kind = { topic: "site/+", code: "unknown-topic" };
  expect(paths.deadLettersAction("discard", kind, "17")).toBe(
    "/v1/dead-letters/discard?topic=site%2F%2B&code=unknown-topic&cursor=17",
  );
});
