/** Editing a rule: the patch names what changed since the person began, and the version that they saw. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Rule, RuleInput } from "../../api/types.ts";
import { buildMergePatch, changedFields } from "../../lib/merge-patch.ts";
import { Notice } from "../../ui/notice.tsx";
import { fieldLabel } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { canonical, formOf, type RuleForm } from "./form.ts";
import { RuleEditor } from "./rule-editor.tsx";
import { texts } from "./texts.ts";

export interface RuleDraft {
  /** The version on the screen when the edit began. */
  version: string;
  /** What it said then. A rule that nobody could have written is written anew, whole: an empty object. */
  seen: Partial<RuleInput>;
  form: RuleForm;
}

export const startEdit = (rule: Rule): RuleDraft => ({
  version: rule.version,
  seen: canonical(rule) ?? {},
  form: formOf(rule),
});

interface EditRuleProps {
  rule: Rule;
  draft: RuleDraft;
  /** Typed before this page was opened. */
  restored: boolean;
  onDraft: (draft: RuleDraft | null) => void;
  onSaved: () => void;
}

export function EditRule({ rule, draft, restored, onDraft, onSaved }: EditRuleProps) {
  const [unchanged, setUnchanged] = useState(false);
  const client = useQueryClient();
  const write = useWrite(({ version, patch }: { version: string; patch: Partial<RuleInput> }) =>
    api.patch<Rule>(paths.rule(rule.id), version, patch),
  );
  const versionUnknown = write.error instanceof ApiError && write.error.code === "version-unknown";

  const save = async (input: RuleInput, version: string) => {
    const patch = buildMergePatch<Partial<RuleInput>>(draft.seen, input);
    setUnchanged(Object.keys(patch).length === 0);
    if (Object.keys(patch).length === 0) return;
    const answer = await write.run({ version, patch });
    if (answer === null) return;
    client.setQueryData(keys.rules.one(rule.id), answer);
    void client.invalidateQueries({ queryKey: keys.rules.all() });
    void client.invalidateQueries({ queryKey: keys.conflicts.all() });
    onSaved();
  };

  // What was tried last, for “save on top”, which has to be a wish of its own.
  const [last, setLast] = useState<RuleInput | null>(null);
  const changedByOthers =
    rule.version === draft.version ? [] : changedFields<Partial<RuleInput>>(draft.seen, canonical(rule) ?? draft.seen);

  return (
    <RuleEditor
      label={texts.editTitle}
      form={draft.form}
      onForm={(form) => onDraft({ ...draft, form })}
      saving={write.saving}
      error={write.error}
      errorAction={
        versionUnknown &&
        last !== null && (
          <button type="button" className="button" onClick={() => void save(last, rule.version)}>
            {texts.saveOnTop}
          </button>
        )
      }
      onSubmit={(input) => {
        setLast(input);
        void save(input, draft.version);
      }}
      submit={texts.save}
      onCancel={() => onDraft(null)}
      cancel={texts.discard}
      status={unchanged ? texts.nothingChanged : ""}
    >
      <h2>{texts.editTitle}</h2>
      {restored && <Notice tone="info" role="status" title={texts.editDraftKept} />}
      <div aria-live="polite">
        {changedByOthers.length > 0 && (
          <Notice tone="warn" title={texts.changedMeanwhile}>
            <ul className="list-disc pl-6">
              {changedByOthers.map((field) => (
                <li key={field}>{texts.changedField(fieldLabel(field))}</li>
              ))}
            </ul>
            <p className="mt-1">{texts.changedHint}</p>
          </Notice>
        )}
      </div>
    </RuleEditor>
  );
}
