/** Switching a rule on and off. */
import { useQueryClient } from "@tanstack/react-query";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Rule } from "../../api/types.ts";
import { ErrorNotice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

export function RuleSwitch({ rule }: { rule: Rule }) {
  const client = useQueryClient();
  const write = useWrite(({ version, enabled }: { version: string; enabled: boolean }) =>
    api.patch<Rule>(paths.rule(rule.id), version, { enabled }),
  );
  const toggle = async () => {
    if ((await write.run({ version: rule.version, enabled: !rule.enabled })) === null) return;
    await client.invalidateQueries({ queryKey: keys.rules.all() });
  };
  return (
    <div className="flex flex-wrap items-center gap-3">
      <button
        type="button"
        className="button"
        aria-label={rule.enabled ? texts.switchOff(rule.name) : texts.switchOn(rule.name)}
        aria-disabled={write.saving}
        onClick={() => void toggle()}
      >
        {rule.enabled ? texts.switchOffShort : texts.switchOnShort}
      </button>
      {write.state.phase !== "idle" && (
        <SaveState saving={write.saving} saved={write.state.phase === "saved" ? rule : null} />
      )}
      {write.error !== null && <ErrorNotice error={write.error} onRetry={() => void toggle()} />}
    </div>
  );
}
