/** With what a device signs in over MQTT. A password is shown once, when it is made: the node keeps no copy of it. */
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import type { Device, DeviceCredentials } from "../../api/types.ts";
import { Confirm } from "../../ui/confirm.tsx";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { PasswordOnce } from "../../ui/password-once.tsx";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

type Wish = "make" | "revoke";

export function Credentials({ device }: { device: Device }) {
  const write = useWrite(async (wish: Wish): Promise<DeviceCredentials | "revoked"> => {
    if (wish === "make") return api.post<DeviceCredentials>(paths.deviceCredentials(device.id), {});
    await api.delete(paths.deviceCredentials(device.id));
    return "revoked";
  });
  const answer = write.state.phase === "saved" ? write.state.answer : null;
  return (
    <section aria-labelledby="credentials" className="card grid grid-cols-[minmax(0,1fr)] gap-3 p-4">
      <div>
        <h2 id="credentials">{texts.credentials}</h2>
        <p className="text-sm text-ink-soft">{texts.credentialsLead}</p>
      </div>
      {write.error !== null && <ErrorNotice error={write.error} />}
      <div aria-live="polite">
        {answer === "revoked" ? (
          <Notice tone="ok" title={texts.credentialsRevoked} />
        ) : (
          answer !== null && <PasswordOnce credentials={answer} onNoted={write.reset} />
        )}
      </div>
      <div className="flex flex-wrap gap-2">
        <Confirm
          danger={false}
          busy={write.saving}
          question={texts.credentialsMakeAsk}
          confirm={texts.credentialsMakeConfirm}
          onConfirm={() => void write.run("make")}
        >
          {texts.credentialsMake}
        </Confirm>
        <Confirm
          busy={write.saving}
          question={texts.credentialsRevokeAsk(device.name)}
          confirm={texts.credentialsRevokeConfirm}
          onConfirm={() => void write.run("revoke")}
        >
          {texts.credentialsRevoke}
        </Confirm>
      </div>
    </section>
  );
}
