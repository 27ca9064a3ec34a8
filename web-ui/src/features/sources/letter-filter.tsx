/** Which of the messages that nobody could read: by source, by a part of the topic, by the reason. */
import { useRef } from "react";
import type { DeadLetterFilter } from "../../api/paths.ts";
import type { DeadLetter } from "../../api/types.ts";
import { type Option, SelectField, TextField } from "../../ui/field.tsx";
import { texts } from "./texts.ts";

interface LetterFilterProps {
  filter: DeadLetterFilter;
  /** As it was typed. */
  topic: string;
  letters: readonly DeadLetter[];
  onField: (field: keyof DeadLetterFilter, value: string) => void;
}

/** All words that came by since the page was opened: a list that is filtered does not show what else there is. */
function useSeen(words: readonly string[]): string[] {
  const seen = useRef(new Set<string>());
  for (const word of words) seen.current.add(word);
  return [...seen.current].sort();
}

export function LetterFilter({ filter, topic, letters, onField }: LetterFilterProps) {
  const sources = useSeen([...letters.map((letter) => letter.source), filter.source ?? ""].filter(Boolean));
  const codes = useSeen([...letters.map((letter) => letter.code), filter.code ?? ""].filter(Boolean));
  const options = (any: string, words: string[], say: (word: string) => string): Option[] => [
    { value: "", label: any },
    ...words.map((word) => ({ value: word, label: say(word) })),
  ];
  return (
    <search aria-label={texts.filter} className="grid grid-cols-2 items-end gap-3 sm:grid-cols-3">
      <TextField
        label={texts.topicPart}
        value={topic}
        onChange={(value) => onField("topic", value)}
        autoComplete="off"
        code
      />
      <SelectField
        label={texts.reason}
        value={filter.code ?? ""}
        onChange={(value) => onField("code", value)}
        options={options(texts.anyReason, codes, texts.reasonOf)}
      />
      {/* Most nodes have one source: there is nothing to choose. */}
      {(sources.length > 1 || filter.source) && (
        <SelectField
          label={texts.source}
          value={filter.source ?? ""}
          onChange={(value) => onField("source", value)}
          options={options(texts.anySource, sources, (source) => source)}
        />
      )}
    </search>
  );
}
