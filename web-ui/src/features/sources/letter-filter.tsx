/** Which of the messages that nobody could read: by source, by a part of the topic, by the reason. */
import { useRef } from "react";
import type { DeadLetterFilter } from "../../api/paths.ts";
import { useBrokerNames } from "../../api/queries.ts";
import type { DeadLetter } from "../../api/types.ts";
import { SelectField, TextField } from "../../ui/field.tsx";
import { texts } from "./texts.ts";

/** What somebody has written into the filter. */
export type TypedFilter = Record<"source" | "topic" | "code", string>;

interface LetterFilterProps {
  typed: TypedFilter;
  letters: readonly DeadLetter[];
  onField: (field: keyof DeadLetterFilter, value: string) => void;
}

/** What the node asks for: as people write a reason, its stable name is meant. */
export function filterOf({ source, topic, code }: TypedFilter): DeadLetterFilter {
  const filter: DeadLetterFilter = {};
  if (source !== "") filter.source = source;
  if (topic.trim() !== "") filter.topic = topic.trim();
  if (code.trim() !== "") filter.code = code.trim().toLowerCase().replaceAll(/\s+/g, "-");
  return filter;
}

/** All words that came by since the page was opened: a list that is filtered does not show what else there is. */
function useSeen(words: readonly string[]): string[] {
  const seen = useRef(new Set<string>());
  for (const word of words) if (word !== "") seen.current.add(word);
  return [...seen.current].sort();
}

/** Also those of which no letter is on the screen: the newest may all be one sender's flood. */
function useSources(letters: readonly DeadLetter[], chosen: string): string[] {
  const brokers = useBrokerNames();
  return useSeen(["mqtt", ...brokers, ...letters.map((letter) => letter.source), chosen]);
}

export function LetterFilter({ typed, letters, onField }: LetterFilterProps) {
  const sources = useSources(letters, typed.source);
  const codes = useSeen(letters.map((letter) => letter.code));
  return (
    <search aria-label={texts.filter} className="grid grid-cols-2 items-start gap-3 sm:grid-cols-3">
      <TextField
        label={texts.topicPart}
        value={typed.topic}
        onChange={(value) => onField("topic", value)}
        autoComplete="off"
        code
      />
      {/* Typed, not chosen: there are more reasons than the letters on the screen have. */}
      <TextField
        label={texts.reason}
        hint={texts.reasonHint}
        value={typed.code}
        onChange={(value) => onField("code", value)}
        suggestions={codes}
        autoComplete="off"
        code
      />
      {/* Most nodes have one source: there is nothing to choose. */}
      {(sources.length > 1 || typed.source !== "") && (
        <SelectField
          label={texts.source}
          value={typed.source}
          onChange={(value) => onField("source", value)}
          options={[
            { value: "", label: texts.anySource },
            ...sources.map((source) => ({ value: source, label: source })),
          ]}
        />
      )}
    </search>
  );
}
