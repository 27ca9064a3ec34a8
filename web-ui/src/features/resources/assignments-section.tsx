/** Who is sent to an incident: assign a resource, follow it on its way. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys, useAssignments, useResources } from "../../api/queries.ts";
import { ASSIGNMENT_STATES, type Assignment, type Resource } from "../../api/types.ts";
import { lastChange, Provenance } from "../../ui/age.tsx";
import { Tag } from "../../ui/badges.tsx";
import { SelectField } from "../../ui/field.tsx";
import { fieldErrors } from "../../ui/field-errors.ts";
import { ListState } from "../../ui/list-state.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { common, label } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

/** These need nobody's attention any more and go to the end. */
const OVER = new Set(["released", "cancelled"]);
const stateOptions = ASSIGNMENT_STATES.map((value) => ({ value, label: label(value) }));

export function AssignmentsSection({ incident }: { incident: string }) {
  const assignments = useAssignments(incident);
  const resources = useResources();
  const nameOf = (id: string | null) =>
    resources.data?.find((resource) => resource.id === id)?.name ?? texts.unknownResource(id);
  const rows = assignments.data?.toSorted((a, b) => Number(OVER.has(a.state)) - Number(OVER.has(b.state)));
  return (
    <section aria-labelledby="assignments" className="card p-4">
      <h2 id="assignments" className="mb-2">
        {texts.assignments}
      </h2>
      <ListState query={assignments} empty={texts.assignmentsEmpty}>
        <ul className="mb-3 grid gap-2">
          {rows?.map((assignment) => (
            <AssignmentRow key={assignment.id} assignment={assignment} name={nameOf(assignment.resource)} />
          ))}
        </ul>
      </ListState>
      <Assign incident={incident} resources={resources.data} taken={rows ?? []} />
    </section>
  );
}

function useRefresh() {
  const client = useQueryClient();
  return () =>
    Promise.all([
      client.invalidateQueries({ queryKey: keys.assignments.all() }),
      client.invalidateQueries({ queryKey: keys.resources.all() }),
    ]);
}

function AssignmentRow({ assignment, name }: { assignment: Assignment; name: string }) {
  const refresh = useRefresh();
  // What was chosen stays in the control while it is being saved, and after a failure.
  const [wanted, setWanted] = useState<string | null>(null);
  const write = useWrite(({ version, state }: { version: string; state: string }) =>
    api.patch<Assignment>(paths.assignment(assignment.id), version, { state }),
  );
  const change = async (state: string) => {
    setWanted(state);
    const answer = await write.run({ version: assignment.version, state });
    if (answer === null) return;
    await refresh();
    setWanted(null);
  };
  const conflict = assignment.conflicts[0];
  return (
    <li className="rounded-lg border border-line p-3">
      <div className="grid items-end gap-2 sm:grid-cols-[minmax(0,1fr)_14rem]">
        <div>
          <p className="font-bold">{name}</p>
          {conflict && (
            <Link to={`/conflicts/${conflict.conflict}`}>
              <Tag tone="bad">{texts.conflict}</Tag>
            </Link>
          )}
          <p className="text-sm text-ink-soft">
            <Provenance {...lastChange(assignment)} unsigned={common.commandLine} />
          </p>
        </div>
        <SelectField
          label={texts.state(name)}
          value={wanted ?? assignment.state}
          onChange={(state) => void change(state)}
          options={stateOptions}
          error={fieldErrors(write.error).state}
        />
      </div>
      {write.error !== null && (
        <div className="mt-2">
          <ErrorNotice error={write.error} onRetry={() => wanted !== null && void change(wanted)} />
        </div>
      )}
      {write.state.phase !== "idle" && (
        <SaveState saving={write.saving} saved={write.state.phase === "saved" ? assignment : null} />
      )}
    </li>
  );
}

interface AssignProps {
  incident: string;
  resources: Resource[] | undefined;
  taken: Assignment[];
}

function Assign({ incident, resources, taken }: AssignProps) {
  const refresh = useRefresh();
  const [resource, setResource] = useState("");
  const [missing, setMissing] = useState(false);
  const write = useWrite((input: { resource: string; incident: string; state: string }, key) =>
    api.post<Assignment>(paths.assignments(), input, key),
  );
  if (resources === undefined) return null;
  if (resources.length === 0) {
    return (
      <p>
        {texts.noResources}{" "}
        <Link className="link" to="/resources">
          {texts.addFirst}
        </Link>
      </p>
    );
  }
  const here = new Set(taken.filter((assignment) => !OVER.has(assignment.state)).map(({ resource: id }) => id));
  const options = resources
    .filter(({ id }) => !here.has(id))
    .map(({ id, name, status }) => ({ value: id, label: `${name} (${label(status).toLowerCase()})` }));

  const submit = async () => {
    setMissing(resource === "");
    if (resource === "") return;
    const answer = await write.run({ resource, incident, state: "requested" });
    if (answer === null) return;
    await refresh();
    setResource("");
  };

  return (
    <form
      noValidate
      className="grid gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {write.error !== null && <ErrorNotice error={write.error} />}
      <div className="flex flex-wrap items-end gap-2">
        <div className="min-w-0 flex-1 basis-52">
          <SelectField
            label={texts.resource}
            value={resource}
            onChange={setResource}
            options={[{ value: "", label: texts.chooseResource }, ...options]}
            error={missing && resource === "" ? texts.resourceMissing : fieldErrors(write.error).resource}
          />
        </div>
        <button type="submit" className="button max-sm:w-full" aria-disabled={write.saving}>
          {texts.assign}
        </button>
      </div>
      <SaveState saving={write.saving} saved={write.state.phase === "saved" ? write.state.answer : null} />
    </form>
  );
}
