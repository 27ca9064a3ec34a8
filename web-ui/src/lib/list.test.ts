import { expect, test } from "vitest";
import { replaced, without } from "./list.ts";

test("one item gives way or goes, the others stay in their order, and the list itself is not touched", () => {
  const list = ["a", "b", "c"];
  expect(replaced(list, 1, "x")).toEqual(["a", "x", "c"]);
  expect(without(list, 0)).toEqual(["b", "c"]);
  expect(replaced(list, 3, "x")).toEqual(list);
  expect(list).toEqual(["a", "b", "c"]);
});
