// A tiny stand-in for the gateway, to develop and drive the phone without one:
// serves dist/, registers users with digest, and passes SIP between browsers
// that are connected to it, so that two pages can really talk. Not for anything
// else: it trusts what it gets.
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const DOMAIN = 'isthmus.example';
export const USERS = { alice: 'wonderland', bob: 'builder', carol: 'christmas' };

/** Users that always answer the same: [status, phrase, extra headers]. */
const ROBOTS = {
  busy: [486, 'Busy Here'],
  decline: [603, 'Decline'],
  offline: [480, 'Temporarily Unavailable'],
  full: [503, 'Service Unavailable', 'Retry-After: 30'],
  silent: [408, 'Request Timeout'],
  video: [488, 'Not Acceptable Here', 'Warning: 304 isthmus.example "Media type not available"'],
  ring: [180, 'Ringing'],
};

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};
/** The strictest policy under which the phone works; the gateway's may allow more, not less. */
const CSP =
  "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Starts on a free port of the loopback. `control` changes its behaviour while it runs. */
export async function startFake({ port = 0, demo = true } = {}) {
  const control = { refuseReinvite: false, registerStatus: 0 };
  const http = createServer((req, res) => void serve(req, res, demo));
  const wss = new WebSocketServer({ noServer: true, handleProtocols: (p) => (p.has('sip') ? 'sip' : false) });
  http.on('upgrade', (req, socket, head) => {
    if (new URL(req.url, 'http://x').pathname !== '/sip') {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
      return;
    }
    wss.handleUpgrade(req, socket, head, (ws) => core.accept(ws));
  });
  const core = new Core(control);
  await new Promise((resolve) => http.listen(port, '127.0.0.1', resolve));
  return {
    control,
    core,
    url: `http://localhost:${http.address().port}/`,
    async close() {
      for (const c of wss.clients) c.terminate();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
    /** Drops all WebSockets, as a restarting gateway would. */
    dropAll() {
      for (const c of wss.clients) c.close(1012, 'restart');
    },
  };
}

async function serve(req, res, demo) {
  const path = new URL(req.url, 'http://x').pathname;
  if (path === '/phone-config.json' && demo) {
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end(
      JSON.stringify({
        domain: DOMAIN,
        wsPath: '/sip',
        registrarHint: 'Demo core: these accounts exist on this machine only.',
        demoUsers: Object.entries(USERS).map(([user, password]) => ({ user, password })),
        demoTargets: [
          { uri: `sip:bob@${DOMAIN}`, label: 'Bob' },
          { uri: `sip:busy@${DOMAIN}`, label: 'Busy line' },
          { uri: `sip:ring@${DOMAIN}`, label: 'Rings forever' },
        ],
        iceServers: [],
      }),
    );
    return;
  }
  const file = join(DIST, normalize(path === '/' ? '/index.html' : path));
  try {
    const body = await readFile(file);
    res.writeHead(200, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      'content-security-policy': CSP,
      'permissions-policy': 'microphone=(self), camera=()',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    });
    res.end(body);
  } catch {
    res.writeHead(404).end();
  }
}

class Core {
  constructor(control) {
    this.control = control;
    this.byUser = new Map(); // user -> {ws, contact}
    this.byContact = new Map(); // contact user part -> ws
    this.waiting = new Map(); // our branch -> ws of the sender
    this.nonces = new Set();
  }

  accept(ws) {
    ws.on('message', (data) => {
      const text = data.toString();
      if (text.trim() === '') {
        ws.send('\r\n');
        return;
      }
      const msg = parse(text);
      if (msg.status) this.response(msg);
      else this.request(ws, msg);
    });
  }

  request(ws, msg) {
    if (msg.method === 'REGISTER') return this.register(ws, msg);
    if (msg.method === 'INVITE' && this.control.refuseReinvite && /tag=/.test(header(msg, 'To'))) {
      return reply(ws, msg, 488, 'Not Acceptable Here');
    }
    const user = /^sip:([^@;>]+)/.exec(msg.uri)?.[1] ?? '';
    const robot = ROBOTS[user];
    if (robot) return this.robot(ws, msg, robot);
    const target = this.byContact.get(user) ?? this.byUser.get(user)?.ws;
    if (target?.readyState !== 1) {
      if (msg.method !== 'ACK')
        reply(ws, msg, USERS[user] ? 480 : 404, USERS[user] ? 'Temporarily Unavailable' : 'Not Found');
      return undefined;
    }
    const registered = this.byUser.get(user);
    const uri = registered ? registered.contact : msg.uri;
    const branch = `z9hG4bKfake${/branch=([^;,\s]+)/.exec(header(msg, 'Via'))?.[1]}`;
    this.waiting.set(branch, ws);
    if (msg.method === 'INVITE') reply(ws, msg, 100, 'Trying');
    const lines = [
      `${msg.method} ${uri} SIP/2.0`,
      `Via: SIP/2.0/WS fake.invalid;branch=${branch}`,
      ...msg.headers,
    ];
    target.send(`${lines.join('\r\n')}\r\n\r\n${msg.body}`);
    return undefined;
  }

  robot(ws, msg, [status, phrase, extra]) {
    if (msg.method === 'ACK') return;
    if (msg.method === 'CANCEL') {
      reply(ws, msg, 200, 'OK');
      reply(
        ws,
        { ...msg, headers: msg.headers.map((h) => h.replace(/^CSeq: (\d+) CANCEL/, 'CSeq: $1 INVITE')) },
        487,
        'Request Terminated',
      );
      return;
    }
    reply(ws, msg, status, phrase, extra ? [extra] : []);
  }

  response(msg) {
    const via = msg.headers.findIndex((h) => /^via:/i.test(h));
    const branch = /branch=([^;,\s]+)/.exec(msg.headers[via])?.[1];
    const back = this.waiting.get(branch);
    if (msg.status === 100 || back?.readyState !== 1) return;
    const headers = msg.headers.filter((_, i) => i !== via);
    back.send(`${[msg.first, ...headers].join('\r\n')}\r\n\r\n${msg.body}`);
  }

  register(ws, msg) {
    if (this.control.registerStatus) return reply(ws, msg, this.control.registerStatus, 'Fake Refusal');
    const user = /sip:([^@;>]+)@/.exec(header(msg, 'To'))?.[1] ?? '';
    const auth = header(msg, 'Authorization');
    if (!auth) {
      const nonce = randomBytes(12).toString('hex');
      this.nonces.add(nonce);
      return reply(ws, msg, 401, 'Unauthorized', [
        `WWW-Authenticate: Digest realm="${DOMAIN}", nonce="${nonce}", algorithm=MD5, qop="auth"`,
      ]);
    }
    if (!this.digestOk(auth, user)) return reply(ws, msg, 403, 'Forbidden');
    const contact = /<([^>]+)>/.exec(header(msg, 'Contact'))?.[1] ?? '';
    const expires = Number(header(msg, 'Expires') || 600);
    if (expires === 0) this.byUser.delete(user);
    else {
      this.byUser.set(user, { ws, contact });
      this.byContact.set(/^sip:([^@;]+)/.exec(contact)?.[1], ws);
    }
    return reply(
      ws,
      msg,
      200,
      'OK',
      expires === 0 ? [] : [`Contact: <${contact}>;expires=${expires}`, 'Flow-Timer: 30'],
    );
  }

  digestOk(auth, user) {
    const p = Object.fromEntries([...auth.matchAll(/(\w+)="?([^",]+)"?/g)].map((m) => [m[1], m[2]]));
    if (!USERS[user] || p.username !== user || !this.nonces.has(p.nonce)) return false;
    const ha1 = md5(`${user}:${DOMAIN}:${USERS[user]}`);
    const ha2 = md5(`REGISTER:${p.uri}`);
    return p.response === md5(`${ha1}:${p.nonce}:${p.nc}:${p.cnonce}:${p.qop}:${ha2}`);
  }
}

function md5(s) {
  return createHash('md5').update(s).digest('hex');
}

function parse(text) {
  const end = text.indexOf('\r\n\r\n');
  const lines = text.slice(0, end).split('\r\n');
  const first = lines[0];
  const status = /^SIP\/2\.0 (\d{3})/.exec(first);
  const [method, uri] = first.split(' ');
  return {
    first,
    headers: lines.slice(1),
    body: text.slice(end + 4),
    status: status ? Number(status[1]) : 0,
    method,
    uri,
  };
}

function header(msg, name) {
  const re = new RegExp(`^${name}\\s*:\\s*(.*)$`, 'i');
  for (const h of msg.headers) {
    const m = re.exec(h);
    if (m) return m[1];
  }
  return '';
}

function reply(ws, msg, status, phrase, extra = []) {
  const keep = msg.headers.filter((h) => /^(via|from|call-id|cseq|to)\s*:/i.test(h));
  const tagged = keep.map((h) =>
    /^to\s*:/i.test(h) && !/;tag=/.test(h) && status > 100
      ? `${h};tag=fake${randomBytes(4).toString('hex')}`
      : h,
  );
  ws.send([`SIP/2.0 ${status} ${phrase}`, ...tagged, ...extra, 'Content-Length: 0', '', ''].join('\r\n'));
}
