/** The calibrations of a channel: which counts now, which did before, and a new one. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { api } from "../../../api/client.ts";
import { paths } from "../../../api/paths.ts";
import { keys, useCalibrations } from "../../../api/queries.ts";
import type { Calibration, Series } from "../../../api/types.ts";
import { useDraft } from "../../../lib/draft.ts";
import { Age, lastChange, Provenance } from "../../../ui/age.tsx";
import { Tag } from "../../../ui/badges.tsx";
import { Confirm } from "../../../ui/confirm.tsx";
import { ListState } from "../../../ui/list-state.tsx";
import { ErrorNotice } from "../../../ui/notice.tsx";
import { SaveState } from "../../../ui/save-state.tsx";
import { common } from "../../../ui/texts.ts";
import { useWrite } from "../../../ui/use-write.ts";
import { AddCalibration } from "./add-calibration.tsx";
import { type CalibrationForm, curveText, emptyCalibration, inOrder } from "./form.ts";
import { texts } from "./texts.ts";

export function Calibrations({ series }: { series: Series }) {
  const calibrations = useCalibrations(series.device, series.channel);
  const [draft, setDraft] = useDraft<CalibrationForm>(`calibration.${series.device}/${series.channel}`);
  const [added, setAdded] = useState<string | null>(null);
  const ordered = inOrder(calibrations.data ?? []);
  const counting = ordered.find((each) => each.superseded_by === null && each.curve !== null && hasBegun(each));
  return (
    <section
      aria-label={texts.title(series.channel)}
      className="grid grid-cols-[minmax(0,1fr)] gap-3 border-t border-line pt-3"
    >
      <div>
        <h3>{texts.title(series.channel)}</h3>
        <p className="max-w-prose text-sm text-ink-soft">{texts.lead}</p>
      </div>
      <ListState query={calibrations} empty={texts.none}>
        <ol aria-label={texts.title(series.channel)} className="grid gap-2">
          {ordered.map((each) => (
            <Version key={each.id} calibration={each} counts={each.id === counting?.id} />
          ))}
        </ol>
      </ListState>
      <SaveState saving={false} saved={ordered.find((each) => each.id === added) ?? null} />
      {draft === null ? (
        <button
          type="button"
          className="button justify-self-start max-sm:w-full"
          onClick={() => {
            setAdded(null);
            setDraft({ ...emptyCalibration, unit: series.unit ?? "" });
          }}
        >
          {texts.add}
        </button>
      ) : (
        <AddCalibration
          series={series}
          form={draft}
          onForm={setDraft}
          onAdded={(calibration) => {
            setDraft(null);
            setAdded(calibration.id);
          }}
        />
      )}
    </section>
  );
}

/** One that is entered ahead of its time does not count yet. */
const hasBegun = (calibration: Calibration): boolean =>
  calibration.valid_from === null || Date.parse(calibration.valid_from) <= Date.now();

function Version({ calibration, counts }: { calibration: Calibration; counts: boolean }) {
  const conflict = calibration.conflicts[0];
  const from =
    calibration.valid_from === null
      ? texts.always
      : `${texts.from} ${new Date(calibration.valid_from).toLocaleString()}`;
  return (
    <li className="rounded-lg border border-line p-3">
      <div className="flex flex-wrap items-start justify-between gap-2">
        <p className="font-semibold">
          {from}
          {calibration.valid_from !== null && (
            <span className="font-normal text-ink-soft">
              {" "}
              (<Age at={calibration.valid_from} />)
            </span>
          )}
        </p>
        <span className="flex gap-2">
          {conflict && (
            <Link to={`/conflicts/${conflict.conflict}`}>
              <Tag tone="bad">{texts.conflict}</Tag>
            </Link>
          )}
          {counts && <Tag tone="ok">{texts.counts}</Tag>}
          {calibration.superseded_by !== null && <Tag tone="warn">{texts.superseded}</Tag>}
        </span>
      </div>
      <p className="tabular">{curveText(calibration.curve)}</p>
      {calibration.note && <p>{calibration.note}</p>}
      <p className="text-sm text-ink-soft">
        <Provenance {...lastChange(calibration)} unsigned={common.commandLine} />
      </p>
      <DeleteCalibration calibration={calibration} from={from} />
    </li>
  );
}

function DeleteCalibration({ calibration, from }: { calibration: Calibration; from: string }) {
  const client = useQueryClient();
  const write = useWrite(async () => {
    await api.delete(paths.calibration(calibration.id));
    return true;
  });
  const remove = async () => {
    if ((await write.run(null)) === null) return;
    await client.invalidateQueries({ queryKey: keys.calibrations.all() });
    await client.invalidateQueries({ queryKey: keys.devices.all() });
  };
  return (
    <div className="mt-2 grid gap-2 justify-items-start">
      <Confirm
        name={texts.removeOf(from)}
        danger={false}
        busy={write.saving}
        question={texts.removeAsk}
        confirm={texts.removeConfirm}
        onConfirm={() => void remove()}
      >
        {texts.remove}
      </Confirm>
      {write.error !== null && <ErrorNotice error={write.error} onRetry={() => void remove()} />}
    </div>
  );
}
