/** Errors of a 422, by the field they belong to. */
import { ApiError } from "../api/client.ts";

export type FieldErrors = Record<string, string>;

/** RFC 6901 §4: `~1` is a slash, `~0` a tilde. */
const unescapeToken = (token: string): string => token.replaceAll("~1", "/").replaceAll("~0", "~");

/** Keys are dotted paths (`location.lat`). An error inside a field also stands at the field itself, so that a form
 * which shows `tags` as one line can show an error at `/tags/2`. `inside` is the member of the request that the form
 * fills, where it is not all of it. */
export function fieldErrors(error: unknown, inside?: string): FieldErrors {
  const errors: FieldErrors = {};
  if (!(error instanceof ApiError)) return errors;
  for (const { pointer, detail } of error.fields) {
    const whole = pointer.replace(/^#/, "").split("/").slice(1).map(unescapeToken);
    const path = inside !== undefined && whole[0] === inside ? whole.slice(1) : whole;
    const add = (key: string) => {
      errors[key] = errors[key] === undefined ? detail : `${errors[key]} ${detail}`;
    };
    add(path.join("."));
    if (path.length > 1 && path[0] !== undefined) add(path[0]);
  }
  return errors;
}

/** Errors that no field of the form shows. What stands inside a field that is shown is shown there; what is only the sum
 * of others is left out. */
export const unshownErrors = (errors: FieldErrors, shown: ReadonlySet<string>): [string, string][] =>
  Object.entries(errors).filter(
    ([key]) =>
      !shown.has(key) &&
      !shown.has(key.split(".")[0] ?? key) &&
      !Object.keys(errors).some((other) => other.startsWith(`${key}.`)),
  );
