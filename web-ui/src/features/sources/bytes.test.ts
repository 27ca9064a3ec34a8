import { expect, test } from "vitest";
import { preview, toBase64 } from "./bytes.ts";

test("words go as UTF-8, spaces and all", () => {
  expect(toBase64("22.5", "text")).toBe("MjIuNQ==");
  expect(toBase64(" ä", "text")).toBe("IMOk");
  expect(toBase64("", "text")).toBe("");
});

test.each(["01 a0 FF", "0x01a0ff", "01:a0:ff", "01-A0-FF"])("hex as people write it: %s", (hex) => {
  expect(toBase64(hex, "hex")).toBe("AaD/");
});

test("base64 with and without padding, and of addresses", () => {
  expect(toBase64("MjIuNQ", "base64")).toBe("MjIuNQ==");
  expect(toBase64("AaD_", "base64")).toBe("AaD/");
});

test("what is no hex or base64 is told, not sent", () => {
  expect(toBase64("abc", "hex")).toBeNull();
  expect(toBase64("zz", "hex")).toBeNull();
  expect(toBase64("?", "base64")).toBeNull();
});

test("a payload of the largest size is no matter", () => {
  expect(toBase64("x".repeat(65_536), "text")).toHaveLength(87_384);
});

test("a payload is shown as words where it is some, else as hex", () => {
  expect(preview(btoa("22,5 °"))).toEqual({ encoding: "hex", text: "32 32 2c 35 20 b0", cut: false });
  expect(preview(toBase64('{"t": "22,5 °"}\n', "text") ?? "")).toEqual({
    encoding: "text",
    text: '{"t": "22,5 °"}\n',
    cut: false,
  });
  expect(preview(btoa("\u0000\u0001"))).toEqual({ encoding: "hex", text: "00 01", cut: false });
  expect(preview("")).toEqual({ encoding: "text", text: "", cut: false });
});

test("of a large payload the beginning is shown, and no half of a character", () => {
  const umlauts = preview(toBase64(`x${"ä".repeat(600)}`, "text") ?? "");
  expect(umlauts).toEqual({ encoding: "text", text: `x${"ä".repeat(99)}`, cut: true });
});

test.each([
  [200, false],
  [201, true],
  [202, true],
])("of %d bytes 200 are shown, and that there are more: %s", (length, cut) => {
  expect(preview(btoa("x".repeat(length)))).toEqual({ encoding: "text", text: "x".repeat(200), cut });
});
