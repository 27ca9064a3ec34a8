/** Writing a rule: kept while it is typed, tried on the past, sent once. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Rule, RuleInput } from "../../api/types.ts";
import { useDraft } from "../../lib/draft.ts";
import { Notice } from "../../ui/notice.tsx";
import { common } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { creationOf, emptyRule, type RuleForm } from "./form.ts";
import { RuleEditor } from "./rule-editor.tsx";
import { texts } from "./texts.ts";

export function NewRulePage() {
  const [draft, setDraft] = useDraft<RuleForm>("rule.new");
  const [restored] = useState(draft !== null);
  const client = useQueryClient();
  const navigate = useNavigate();
  const write = useWrite((input: Partial<RuleInput>, key) => api.post<Rule>(paths.rules(), input, key));

  const submit = async (input: RuleInput) => {
    const rule = await write.run(creationOf(input));
    if (rule === null) return;
    setDraft(null);
    client.setQueryData(keys.rules.one(rule.id), rule);
    void client.invalidateQueries({ queryKey: keys.rules.all() });
    navigate(`/rules/${rule.id}`, { replace: true, state: { saved: true } });
  };

  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-4">
      <div>
        <Link className="link inline-flex min-h-10 items-center" to="/rules">
          ← {texts.back}
        </Link>
        <h1>{texts.add}</h1>
      </div>
      <RuleEditor
        label={texts.add}
        form={{ ...emptyRule, ...draft }}
        onForm={setDraft}
        saving={write.saving}
        error={write.error}
        onSubmit={(input) => void submit(input)}
        submit={texts.submit}
        onCancel={() => {
          setDraft(null);
          navigate("/rules");
        }}
        cancel={common.cancel}
      >
        {restored && <Notice tone="info" role="status" title={texts.draftKept} />}
      </RuleEditor>
    </div>
  );
}
