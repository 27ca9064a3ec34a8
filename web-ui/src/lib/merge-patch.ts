/** Builds JSON merge patches (RFC 7396): the least that turns what a person saw into what they want. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type JsonObject = { [name: string]: Json };

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function equalJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => equalJson(item, b[index]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && equalJson(a[name], b[name]));
}

/** Only fields that differ are in the patch, so that an edit of one field never touches what somebody else wrote in
 * another. A composite value (a location) goes as a whole, with null for each member that it no longer has. */
export function buildMergePatch<Shape extends object>(seen: Shape, wanted: Shape): Partial<Shape> {
  const patch: JsonObject = {};
  const before = seen as unknown as JsonObject;
  const after = wanted as unknown as JsonObject;
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [was, is] = [before[name] ?? null, after[name] ?? null];
    if (equalJson(was, is)) continue;
    if (isObject(was) && isObject(is)) {
      const gone = Object.keys(was).filter((member) => !(member in is));
      patch[name] = { ...is, ...Object.fromEntries(gone.map((member) => [member, null])) };
    } else {
      patch[name] = is;
    }
  }
  return patch as Partial<Shape>;
}

/** The names of the fields in which the two differ. */
export function changedFields<Shape extends object>(seen: Shape, wanted: Shape): (keyof Shape & string)[] {
  return Object.keys(buildMergePatch(seen, wanted)) as (keyof Shape & string)[];
}
