// Registers the service worker, where a page may have one: on HTTPS, or on the machine itself.

const PATH = '/sw.js';

export function keepOffline(): void {
  if (!import.meta.env.PROD || !isSecureContext || !('serviceWorker' in navigator)) return;
  addEventListener('load', () => {
    // A browser without storage has none either; the chat needs no worker.
    navigator.serviceWorker.register(trusted() as string).catch(() => undefined);
  });
}

interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL: (text: string) => string },
  ): { createScriptURL: (text: string) => unknown };
}

/** The one address of a script that the policy in `routes/web.rs` lets through. */
function trusted(): unknown {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  const policy = trustedTypes?.createPolicy('myriad-service-worker', {
    createScriptURL: () => PATH,
  });
  return policy?.createScriptURL(PATH) ?? PATH;
}
