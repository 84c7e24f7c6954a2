/** Which codec the phone puts first in its offers and answers; "auto" leaves the browser's order. */
export type CodecChoice = 'auto' | 'opus' | 'g722' | 'pcma' | 'pcmu';

/** Everything the sign-in form asks. */
export interface Account {
  /** As typed: "alice", "alice@example.org" or "sip:alice@example.org". */
  identity: string;
  displayName: string;
  password: string;
  /** A web-identity token in the place of the password (RFC 8898); kept nowhere. */
  token?: string;
  wsUrl: string;
  /** Keep the password on this device. */
  remember: boolean;
  /** Echo cancellation, noise suppression and gain control on the microphone. */
  processing: boolean;
  codec: CodecChoice;
  /** RFC 4028 session timers offered on calls. */
  sessionTimers: boolean;
}

export interface SipIdentity {
  user: string;
  domain: string;
  uri: string;
}

/** Splits what a person types as their SIP identity. Returns undefined when it names no user. */
export function parseIdentity(input: string, defaultDomain: string): SipIdentity | undefined {
  const bare = input.trim().replace(/^sips?:/i, '');
  const at = bare.lastIndexOf('@');
  const user = at < 0 ? bare : bare.slice(0, at);
  const domain = at < 0 ? defaultDomain : bare.slice(at + 1);
  if (!/^[^\s@<>":;?]+$/.test(user) || !/^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d+)?$/i.test(domain)) {
    return undefined;
  }
  return { user, domain, uri: `sip:${user}@${domain}` };
}

/** The part of a SIP URI that people read: the user, plus the domain when it is a foreign one. */
export function friendly(uri: string, ownDomain: string): string {
  const bare = uri.replace(/^sips?:/i, '').replace(/[;?].*$/, '');
  const at = bare.lastIndexOf('@');
  if (at < 0) return bare;
  const domain = bare.slice(at + 1);
  return domain.toLowerCase() === ownDomain.toLowerCase() ? bare.slice(0, at) : bare;
}
