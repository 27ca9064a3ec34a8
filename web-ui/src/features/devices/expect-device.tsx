/** Approving a device by name, before its first message. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Device } from "../../api/types.ts";
import { TextField } from "../../ui/field.tsx";
import { fieldErrors } from "../../ui/field-errors.ts";
import { ErrorNotice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

export function ExpectDevice() {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [missing, setMissing] = useState(false);
  const write = useWrite((input: { name: string; state: "approved" }, key) =>
    api.post<Device>(paths.devices(), input, key),
  );
  const submit = async () => {
    setMissing(name.trim() === "");
    if (name.trim() === "") return;
    if ((await write.run({ name: name.trim(), state: "approved" })) === null) return;
    setName("");
    await client.invalidateQueries({ queryKey: keys.devices.all() });
  };
  return (
    <form
      noValidate
      aria-labelledby="expect-device"
      className="card grid gap-3 p-4"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <h2 id="expect-device">{texts.expect}</h2>
      {write.error !== null && <ErrorNotice error={write.error} />}
      <div className="flex flex-wrap items-end gap-2">
        <div className="min-w-0 flex-1 basis-52 sm:max-w-sm">
          <TextField
            label={texts.name}
            value={name}
            onChange={setName}
            error={missing && name.trim() === "" ? texts.nameMissing : fieldErrors(write.error).name}
          />
        </div>
        <button type="submit" className="button max-sm:w-full" aria-disabled={write.saving}>
          {texts.expectSubmit}
        </button>
      </div>
      <p className="text-sm text-ink-soft">{texts.expectHint}</p>
      <SaveState saving={write.saving} saved={write.state.phase === "saved" ? write.state.answer : null} />
    </form>
  );
}
