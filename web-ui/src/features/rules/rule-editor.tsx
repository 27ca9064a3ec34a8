/** The form of a rule with its test run, for a new one as for one that is there. */
import type { ReactNode } from "react";
import { useSeries } from "../../api/queries.ts";
import type { RuleInput } from "../../api/types.ts";
import { fieldErrors } from "../../ui/field-errors.ts";
import { FormActions, UnshownErrors } from "../../ui/form.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { useFormErrors } from "../../ui/use-form-errors.ts";
import { parseRule, type RuleForm, shownKeys } from "./form.ts";
import { unitOf } from "./matching.ts";
import { RuleFields } from "./rule-fields.tsx";
import { sentence } from "./sentence.ts";
import { TestRunSection, useTestRun } from "./test-run.tsx";
import { texts } from "./texts.ts";

interface RuleEditorProps {
  label: string;
  form: RuleForm;
  onForm: (form: RuleForm) => void;
  /** Of the write that `onSubmit` begins. */
  saving: boolean;
  error: unknown;
  errorAction?: ReactNode;
  onSubmit: (input: RuleInput) => void;
  submit: string;
  onCancel: () => void;
  cancel: string;
  /** What else a person should know before they save. */
  children?: ReactNode;
  status?: string;
}

export function RuleEditor(props: RuleEditorProps) {
  const { form, error } = props;
  const series = useSeries();
  const test = useTestRun();
  const testErrors = fieldErrors(test.write.error, "rule");
  const remote = { ...testErrors, ...fieldErrors(error) };
  const { errors, setLocal, ref } = useFormErrors(remote);

  const parse = (): RuleInput | null => {
    const parsed = parseRule(form);
    setLocal("errors" in parsed ? parsed.errors : {});
    return "input" in parsed ? parsed.input : null;
  };
  const submit = () => {
    const input = parse();
    test.write.reset();
    if (input !== null) props.onSubmit(input);
  };
  const run = () => {
    const input = parse();
    if (input !== null) void test.run(input);
  };
  const parsed = parseRule(form);

  return (
    <form
      ref={ref}
      noValidate
      aria-label={props.label}
      className="card grid max-w-4xl grid-cols-[minmax(0,1fr)] gap-4 p-3 sm:p-4"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {props.children}
      <RuleFields form={form} onChange={props.onForm} errors={errors} />
      <UnshownErrors errors={remote} shown={shownKeys(form)} />
      {"input" in parsed && (
        <div className="rounded-lg bg-sunken p-3">
          <p className="text-sm font-semibold">{texts.says}</p>
          <p>{sentence(parsed.input, unitOf(parsed.input.match, series.data))}</p>
        </div>
      )}
      <TestRunSection test={test} onRun={run} errorShown={Object.keys(testErrors).length > 0} />
      {error !== null && <ErrorNotice error={error} action={props.errorAction} />}
      <FormActions
        submit={props.submit}
        saving={props.saving}
        status={props.status}
        onCancel={props.onCancel}
        cancel={props.cancel}
      />
    </form>
  );
}
