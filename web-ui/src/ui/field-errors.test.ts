import { expect, test } from "vitest";
import { ApiError } from "../api/client.ts";
import { errorsElsewhere, fieldErrors } from "./field-errors.ts";

const refused = (pointers: string[]) =>
  new ApiError(422, { errors: pointers.map((pointer) => ({ pointer, detail: `at ${pointer}` })) });

test("errors stand at their field, and those inside a field at the field too", () => {
  expect(fieldErrors(refused(["/title", "/location/lat", "/tags/2"]))).toEqual({
    title: "at /title",
    "location.lat": "at /location/lat",
    location: "at /location/lat",
    "tags.2": "at /tags/2",
    tags: "at /tags/2",
  });
});

test("pointers are unescaped as RFC 6901 says", () => {
  expect(fieldErrors(refused(["/a~1b~0c"]))).toEqual({ "a/b~c": "at /a~1b~0c" });
});

test("an error at no field of the form is kept for above it", () => {
  const errors = fieldErrors(refused(["", "/title", "/surprise/x"]));
  expect(errorsElsewhere(errors, ["title"]).map(([key]) => key)).toEqual(["", "surprise.x", "surprise"]);
});
