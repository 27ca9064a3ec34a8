/** With what a device signs in over MQTT. A password is shown once, when it is made: the node keeps no copy of it. */
import { useState } from "react";
import { api } from "../../api/client.ts";
import { paths } from "../../api/paths.ts";
import type { Device, DeviceCredentials } from "../../api/types.ts";
import { ErrorNotice, Notice } from "../../ui/notice.tsx";
import { common } from "../../ui/texts.ts";
import { useWrite } from "../../ui/use-write.ts";
import { texts } from "./texts.ts";

type Wish = "make" | "revoke";

export function Credentials({ device }: { device: Device }) {
  const [asked, setAsked] = useState<Wish | null>(null);
  const write = useWrite(async (wish: Wish): Promise<DeviceCredentials | "revoked"> => {
    if (wish === "make") return api.post<DeviceCredentials>(paths.deviceCredentials(device.id), {});
    await api.delete(paths.deviceCredentials(device.id));
    return "revoked";
  });
  const run = async (wish: Wish) => {
    setAsked(null);
    await write.run(wish);
  };
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
          answer !== null && (
            <Notice tone="warn" title={texts.credentialsOnce}>
              <dl className="mt-2 grid gap-2">
                <div>
                  <dt className="text-sm">{texts.username}</dt>
                  <dd className="font-mono">{answer.username}</dd>
                </div>
                <div>
                  <dt className="text-sm">{texts.password}</dt>
                  <dd className="font-mono">{answer.password}</dd>
                </div>
              </dl>
              <button type="button" className="button mt-3" onClick={write.reset}>
                {texts.credentialsNoted}
              </button>
            </Notice>
          )
        )}
      </div>
      {asked === null ? (
        <div className="flex flex-wrap gap-2">
          <button type="button" className="button" aria-disabled={write.saving} onClick={() => setAsked("make")}>
            {texts.credentialsMake}
          </button>
          <button
            type="button"
            className="button button-danger"
            aria-disabled={write.saving}
            onClick={() => setAsked("revoke")}
          >
            {texts.credentialsRevoke}
          </button>
        </div>
      ) : (
        <Notice
          tone="warn"
          role="alert"
          title={asked === "make" ? texts.credentialsMakeAsk : texts.credentialsRevokeAsk(device.name)}
        >
          <div className="mt-3 flex flex-wrap gap-2">
            <button type="button" className="button button-danger" onClick={() => void run(asked)}>
              {asked === "make" ? texts.credentialsMakeConfirm : texts.credentialsRevokeConfirm}
            </button>
            <button type="button" className="button" onClick={() => setAsked(null)}>
              {common.cancel}
            </button>
          </div>
        </Notice>
      )}
    </section>
  );
}
