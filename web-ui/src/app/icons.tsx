/** The page's own icons, 24 × 24, drawn with the text colour. */
import type { ReactNode } from "react";

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg
      aria-hidden="true"
      width="24"
      height="24"
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth="2"
      strokeLinecap="round"
      strokeLinejoin="round"
    >
      {children}
    </svg>
  );
}

export const icons = {
  incidents: (
    <Icon>
      <path d="M12 3 2 20h20L12 3zM12 10v4M12 17v.1" />
    </Icon>
  ),
  messages: (
    <Icon>
      <path d="M4 4h16a1 1 0 0 1 1 1v11a1 1 0 0 1-1 1h-9l-5 4v-4H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM7 9h10M7 13h6" />
    </Icon>
  ),
  conflicts: (
    <Icon>
      <path d="M12 21v-8M12 13 5 5M12 13l7-8M5 5h5M5 5v5M19 5h-5M19 5v5" />
    </Icon>
  ),
  resources: (
    <Icon>
      <path d="M2 6h12v10H2zM14 10h4l4 4v2h-8zM6 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM17 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4z" />
    </Icon>
  ),
  devices: (
    <Icon>
      <path d="M12 20v-8M12 9a1.5 1.5 0 1 0 0 .1M7.8 13.2a6 6 0 0 1 0-8.4M16.2 4.8a6 6 0 0 1 0 8.4M5 16a10 10 0 0 1 0-14M19 2a10 10 0 0 1 0 14" />
    </Icon>
  ),
  rules: (
    <Icon>
      <path d="M3 15h18M4 20l5-9 4 4 7-11" />
    </Icon>
  ),
  nodes: (
    <Icon>
      <path d="M12 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM5 22a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM19 22a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM10.6 7.6 6.4 16.4M13.4 7.6l4.2 8.8M8 19h8" />
    </Icon>
  ),
};
