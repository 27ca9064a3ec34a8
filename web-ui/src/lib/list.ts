/** Lists that a form holds: a new one for each change, as React wants it. */

/** `at` is the place of the one that `item` takes. */
export const replaced = <Item>(list: readonly Item[], at: number, item: Item): Item[] =>
  list.map((each, index) => (index === at ? item : each));

export const without = <Item>(list: readonly Item[], at: number): Item[] => list.filter((_, index) => index !== at);
