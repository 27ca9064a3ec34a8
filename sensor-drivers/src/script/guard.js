// Runs before a user's script, in the same context: takes away what has no place in a decoder, and makes builtins that
// are written in C pay for their work. QuickJS looks at its interrupt handler only between steps of JavaScript; without
// this, `[].indexOf.call({ length: 2 ** 53 }, 1)` would be one step that takes centuries.
//
// Arguments: time of receipt in ms, longest array that builtins may work on, and `charge(steps)`, which throws when the
// script has used up what it may do. Returns what makes the input object.
(function (received, lengthMax, charge) {
  "use strict";
  const { apply, ownKeys, getPrototypeOf, construct } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor } = Object;
  const { isArray } = Array;
  const AnyString = String;

  function replace(target, name, make) {
    const property = getOwnPropertyDescriptor(target, name);
    if (!property || typeof property.value !== "function") return;
    defineProperty(target, name, { ...property, value: make(property.value) });
  }

  // An array itself, anything else as a copy: the length of a true array is what it says, that of others is code.
  function bounded(list) {
    let length = Math.trunc(Number(list.length)) || 0;
    if (length > lengthMax) {
      throw new RangeError("a decoder's arrays have at most " + lengthMax + " elements");
    }
    charge(length > 0 ? length : 1);
    if (isArray(list)) return list;
    const copy = [];
    for (let i = 0; i < length; i++) if (i in Object(list)) defineProperty(copy, i, { value: list[i], writable: true, enumerable: true, configurable: true });
    return copy;
  }

  function flattened(list, depth, out) {
    const from = bounded(list);
    for (let i = 0; i < from.length; i++) {
      if (!(i in from)) continue;
      if (isArray(from[i]) && depth > 0) flattened(from[i], depth - 1, out);
      else out[out.length] = from[i];
    }
    return out;
  }

  const arrays = Array.prototype;
  const map = arrays.map;
  const changing = ["copyWithin", "fill", "reverse", "shift", "sort", "splice", "unshift"];
  for (const name of ownKeys(arrays)) {
    // The cheap ones, and `toString`, which calls `join`.
    if (["constructor", "push", "pop", "at", "toString"].includes(name)) continue;
    replace(arrays, name, (original) => function (...args) {
      const list = bounded(this);
      if (list !== this && changing.includes(name)) throw new TypeError(name + " is for arrays here");
      if (name === "sort" || name === "toSorted") charge(list.length * 16);
      return apply(original, list, args);
    });
  }
  const ownIncludes = arrays.includes;
  replace(arrays, "flat", () => function (depth = 1) { return flattened(this, depth, []); });
  replace(arrays, "flatMap", () => function (...args) { return flattened(apply(map, bounded(this), args), 1, []); });
  replace(arrays, "concat", () => function (...items) {
    const out = [];
    for (const item of [this, ...items]) flattened(isArray(item) ? item : [item], 0, out);
    return out;
  });

  const typed = getPrototypeOf(Uint8Array.prototype);
  const lengthOf = getOwnPropertyDescriptor(typed, "length").get;
  for (const name of ownKeys(typed)) {
    if (name === "constructor") continue;
    replace(typed, name, (original) => function (...args) {
      charge(apply(lengthOf, this, []) * 16);
      return apply(original, this, args);
    });
  }

  const searching = ["indexOf", "lastIndexOf", "includes", "split", "replace", "replaceAll"];
  for (const name of ownKeys(String.prototype)) {
    if (["constructor", "toString", "valueOf", Symbol.iterator].includes(name)) continue;
    replace(String.prototype, name, (original) => function (...args) {
      const text = AnyString(this);
      charge(1 + text.length / 8);
      if (ownIncludes.call(searching, name) && args[0] !== undefined && !(args[0] instanceof RegExp)) {
        args[0] = AnyString(args[0]);
        charge((text.length * args[0].length) / 16);
      }
      return apply(original, text, args);
    });
  }

  replace(JSON, "parse", (original) => function (text, reviver) {
    const source = AnyString(text);
    charge(source.length);
    return original(source, reviver);
  });
  replace(JSON, "stringify", (original) => function (...args) {
    const text = original(...args);
    charge(text === undefined ? 1 : text.length);
    return text;
  });

  // Iterator helpers are loops in C over whatever an iterator gives.
  const iterators = getPrototypeOf(getPrototypeOf([][Symbol.iterator]()));
  for (const name of ownKeys(iterators)) if (name !== Symbol.iterator) delete iterators[name];
  for (const name of ["Iterator", "Atomics", "SharedArrayBuffer"]) delete globalThis[name];

  // The same bytes give the same values whenever they are decoded: the time is that of receipt, and chance is none.
  const RealDate = Date;
  const FixedDate = function Date(...args) {
    if (!new.target) return new RealDate(received).toString();
    return construct(RealDate, args.length ? args : [received], new.target);
  };
  for (const name of ["UTC", "parse"]) defineProperty(FixedDate, name, getOwnPropertyDescriptor(RealDate, name));
  defineProperty(FixedDate, "now", { value: () => received, writable: true, configurable: true });
  FixedDate.prototype = RealDate.prototype;
  defineProperty(RealDate.prototype, "constructor", { value: FixedDate, writable: true, configurable: true });
  globalThis.Date = FixedDate;
  Math.random = () => 0.5;

  return (bytes, fPort, variables) => ({ bytes, fPort, recvTime: new RealDate(received), variables });
})
