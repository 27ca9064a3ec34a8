/** A place as two numbers, or as the position of whoever holds this device. */
import { useState } from "react";
import type { LocationText } from "../lib/location.ts";
import { TextField } from "./field.tsx";
import type { FieldErrors } from "./field-errors.ts";
import { common } from "./texts.ts";

interface LocationFieldsProps {
  text: LocationText;
  onChange: (text: LocationText) => void;
  errors: FieldErrors;
}

export function LocationFields({ text, onChange, errors }: LocationFieldsProps) {
  const whole = errors["location.lat"] || errors["location.lon"] ? undefined : errors.location;
  return (
    <fieldset className="grid gap-2">
      <legend className="mb-1 font-semibold">
        {common.location} <span className="font-normal text-ink-soft">({common.optional})</span>
      </legend>
      <div className="grid grid-cols-2 gap-4">
        <TextField
          label={common.lat}
          inputMode="text"
          value={text.lat}
          onChange={(lat) => onChange({ lat, lon: text.lon })}
          error={errors["location.lat"] ?? whole}
        />
        <TextField
          label={common.lon}
          inputMode="text"
          value={text.lon}
          onChange={(lon) => onChange({ lat: text.lat, lon })}
          error={errors["location.lon"]}
        />
      </div>
      <p className="text-sm text-ink-soft">{common.locationHint}</p>
      <UsePosition onPosition={(lat, lon) => onChange({ lat, lon })} />
    </fieldset>
  );
}

/** Browsers give the position only to pages from a trusted origin; elsewhere the button would never work. */
function UsePosition({ onPosition }: { onPosition: (lat: string, lon: string) => void }) {
  const [failed, setFailed] = useState(false);
  if (!window.isSecureContext || !("geolocation" in navigator)) return null;
  return (
    <div>
      <button
        type="button"
        className="button"
        onClick={() => {
          setFailed(false);
          navigator.geolocation.getCurrentPosition(
            ({ coords }) => onPosition(coords.latitude.toFixed(6), coords.longitude.toFixed(6)),
            () => setFailed(true),
            { enableHighAccuracy: true, timeout: 20_000, maximumAge: 30_000 },
          );
        }}
      >
        {common.usePosition}
      </button>
      {failed && (
        <p role="alert" className="mt-1 font-semibold text-bad">
          {common.positionFailed}
        </p>
      )}
    </div>
  );
}
