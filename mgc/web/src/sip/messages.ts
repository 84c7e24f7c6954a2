import type { IncomingMessageEvent, UA } from 'jssip/lib/UA';
import { friendly } from '../core/account';
import { Emitter } from '../core/emitter';
import { explainCall, type Failure, refusalOf } from './failure';

/** One text message (RFC 3428). */
export interface Text {
  n: number;
  direction: 'in' | 'out';
  text: string;
  /** Unix time in ms. */
  at: number;
  status: 'sending' | 'sent' | 'failed' | 'received';
  failure?: Failure;
}

/** The texts exchanged with one SIP address. */
export interface Conversation {
  uri: string;
  peer: string;
  texts: Text[];
  unread: number;
}

/** Strangers can send texts: what is kept of them is bounded. */
const MAX_TEXT = 8000;
const MAX_TEXTS = 200;
const MAX_CONVERSATIONS = 50;

/** The conversations of this page load, the latest first. Nothing is stored. */
export class Messages extends Emitter<{
  change: Conversation;
  received: { peer: string; text: string; uri: string };
}> {
  conversations: Conversation[] = [];
  private count = 0;

  /** Sends `text`; the outcome shows in the text's status. */
  send(ua: UA, uri: string, text: string, ownDomain: string): void {
    const conversation = this.open(uri, ownDomain);
    const entry = this.append(conversation, 'out', text, 'sending');
    const settle = (status: 'sent' | 'failed', failure?: Failure) => {
      entry.status = status;
      if (failure) entry.failure = failure;
      this.emit('change', conversation);
    };
    ua.sendMessage(uri, text, {
      contentType: 'text/plain;charset=utf-8',
      eventHandlers: {
        succeeded: () => settle('sent'),
        failed: (e) => settle('failed', explainCall(refusalOf(e.response, e.cause, conversation.peer))),
      },
    });
  }

  /** Takes an incoming MESSAGE; what is no plain text is refused with 415. */
  receive(e: IncomingMessageEvent, ownDomain: string): void {
    const type = e.request.getHeader('Content-Type') ?? 'text/plain';
    if (!/^text\/plain\b/i.test(type)) {
      e.message.reject({ status_code: 415 });
      return;
    }
    const text = (e.request.body ?? '').slice(0, MAX_TEXT);
    const uri = e.request.from.uri.toString();
    const conversation = this.open(uri, ownDomain);
    conversation.unread += 1;
    this.append(conversation, 'in', text, 'received');
    this.emit('received', { peer: conversation.peer, text, uri });
  }

  /** The conversation with `uri`, made if need be, moved to the front. */
  open(uri: string, ownDomain: string): Conversation {
    const known = this.conversations.find((c) => c.uri.toLowerCase() === uri.toLowerCase());
    const conversation = known ?? { uri, peer: friendly(uri, ownDomain), texts: [], unread: 0 };
    this.conversations = [conversation, ...this.conversations.filter((c) => c !== conversation)].slice(
      0,
      MAX_CONVERSATIONS,
    );
    return conversation;
  }

  markRead(conversation: Conversation): void {
    if (conversation.unread === 0) return;
    conversation.unread = 0;
    this.emit('change', conversation);
  }

  get unread(): number {
    return this.conversations.reduce((sum, c) => sum + c.unread, 0);
  }

  private append(c: Conversation, direction: 'in' | 'out', text: string, status: Text['status']): Text {
    this.count += 1;
    const entry: Text = { n: this.count, direction, text, at: Date.now(), status };
    c.texts.push(entry);
    if (c.texts.length > MAX_TEXTS) c.texts.shift();
    this.emit('change', c);
    return entry;
  }
}
