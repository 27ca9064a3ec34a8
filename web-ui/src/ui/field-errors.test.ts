import { expect, test } from "vitest";
import { ApiError } from "../api/client.ts";
import { fieldErrors, unshownErrors } from "./field-errors.ts";

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
  const errors = fieldErrors(refused(["", "/title", "/tags/2", "/surprise/x"]));
  expect(unshownErrors(errors, new Set(["title", "tags"])).map(([key]) => key)).toEqual(["", "surprise.x"]);
});

test("of a form that fills one member of the request, pointers begin inside it", () => {
  expect(fieldErrors(refused(["/rule/raise_above", "/from"]), "rule")).toEqual({
    raise_above: "at /rule/raise_above",
    from: "at /from",
  });
});

test("no error is lost that no field shows, and none is told twice", () => {
  const errors = fieldErrors(refused(["/expression/formula", "/expression/inputs/3/name", "/name", ""]));
  const shown = new Set(["expression.formula", "name"]);
  expect(unshownErrors(errors, shown).map(([key]) => key)).toEqual(["expression.inputs.3.name", ""]);
});
