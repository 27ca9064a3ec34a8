/** Whether rules may look at what a device sends. */
import { useQueryClient } from "@tanstack/react-query";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import { keys } from "../../api/queries.ts";
import type { Device } from "../../api/types.ts";
import { Tag } from "../../ui/badges.tsx";
import { ErrorNotice } from "../../ui/notice.tsx";
import { SaveState } from "../../ui/save-state.tsx";
import { label } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

const tones = { approved: "ok", disabled: "plain", unknown: "warn" } as const;

export function DeviceTags({ device }: { device: Device }) {
  return (
    <span className="flex flex-wrap gap-2">
      {device.stale && <Tag tone="warn">{texts.silent}</Tag>}
      {device.online === false && <Tag tone="warn">{texts.offline}</Tag>}
      <Tag tone={tones[device.state as keyof typeof tones] ?? "plain"}>
        {device.state === "unknown" ? texts.notApproved : label(device.state)}
      </Tag>
    </span>
  );
}

export function DeviceSwitch({ device }: { device: Device }) {
  const client = useQueryClient();
  const write = useWrite((state: "approved" | "disabled", key) =>
    // A device that nobody has approved yet is no document: there is no version to name.
    device.version === null
      ? api.post<Device>(paths.devices(), { name: device.name, state }, key)
      : api.patch<Device>(paths.device(device.id), device.version, { state }),
  );
  const change = async (state: "approved" | "disabled") => {
    if ((await write.run(state)) !== null) await client.invalidateQueries({ queryKey: keys.devices.all() });
  };
  return (
    <>
      {write.error !== null && <ErrorNotice error={write.error} />}
      <div className="flex flex-wrap items-center gap-3">
        {device.state === "approved" ? (
          <button
            type="button"
            className="button"
            aria-label={texts.disable(device.name)}
            aria-disabled={write.saving}
            onClick={() => void change("disabled")}
          >
            {texts.disableShort}
          </button>
        ) : (
          <button
            type="button"
            className="button button-primary"
            aria-label={texts.approve(device.name)}
            aria-disabled={write.saving}
            onClick={() => void change("approved")}
          >
            {device.state === "disabled" ? texts.enableShort : texts.approveShort}
          </button>
        )}
        <SaveState saving={write.saving} saved={write.state.phase === "saved" ? device : null} />
      </div>
    </>
  );
}
