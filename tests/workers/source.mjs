// A plain client of the wire: one source on one WebSocket, as a user would write it.

export class Source {
  /** @param {URL} url of the worker @param {string} name */
  constructor(url, name) {
    this.name = name;
    this.url = new URL('/lakehouse', url);
    this.url.protocol = 'ws:';
    this.acked = new Map();
    this.persisted = 0;
    this.messages = [];
    this.watchers = new Set();
    /** Texts of what `send` has on its way, by number. */
    this.sending = new Map();
  }

  /** Opens the socket and says who it is. */
  async open(lastAckSequence = 0) {
    this.socket = new WebSocket(this.url);
    this.closed = new Promise((closed) => this.socket.addEventListener('close', closed));
    this.socket.addEventListener('message', (event) => this.#take(JSON.parse(event.data)));
    await new Promise((opened, failed) => {
      this.socket.addEventListener('open', opened);
      this.socket.addEventListener('error', failed);
    });
    const capabilities = { binaryProtocol: false, compression: false, batching: true, maxBatchSize: 1000, maxMessageSize: 4194304 };
    this.say({ type: 'connect', timestamp: Date.now(), sourceDoId: this.name, lastAckSequence, protocolVersion: 1, capabilities });
    await this.until(() => this.messages.some((message) => message.type === 'ack' && message.status === 'ok'));
    return this;
  }

  say(message) {
    this.socket.send(JSON.stringify(message));
  }

  /** Sends a batch. */
  batch(number, events) {
    const [first, last] = [events[0].sequence, events.at(-1).sequence];
    this.say({
      type: 'cdc_batch', timestamp: Date.now(), sourceDoId: this.name, events, sequenceNumber: number,
      firstEventSequence: first, lastEventSequence: last, sizeBytes: 100 * events.length, isRetry: false, retryCount: 0,
    });
  }

  /** Sends messages that are ready, `{ text, number }`, at most `window` ahead of their acks; resolves when all are. */
  async send(messages, window = 16) {
    await this.open();
    const open = [];
    for (const message of messages) {
      await this.until(() => open.length < window || this.acked.has(open[0]));
      while (open.length > 0 && this.acked.has(open[0])) {
        this.sending.delete(open.shift());
      }
      this.sending.set(message.number, message.text);
      this.socket.send(message.text);
      open.push(message.number);
    }
    await this.until(() => open.every((number) => this.acked.has(number)));
    this.socket.close();
  }

  /** Resolves when `check` holds; it is asked again after every message. */
  until(check) {
    if (check()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const watch = (failure) => {
        if (failure) reject(failure);
        else if (!check()) return;
        else resolve();
        this.watchers.delete(watch);
      };
      this.watchers.add(watch);
      this.closed.then((event) => watch(new Error(`${this.name}: closed with ${event.code} ${event.reason}`)));
    });
  }

  #take(message) {
    this.messages.push(message);
    if (message.type === 'ack' && message.status === 'persisted') {
      this.persisted = Math.max(this.persisted, message.sequenceNumber);
    } else if (message.type === 'ack' && message.status !== 'ok') {
      for (let n = message.firstSequence ?? message.sequenceNumber; n <= message.sequenceNumber; n += 1) {
        this.acked.set(n, message.status);
      }
    } else if (message.type === 'nack' && message.shouldRetry && this.sending.has(message.sequenceNumber)) {
      setTimeout(() => this.socket.send(this.sending.get(message.sequenceNumber)), message.retryDelayMs);
    } else if (message.type === 'nack') {
      for (const watch of [...this.watchers]) watch(new Error(`${this.name}: ${JSON.stringify(message)}`));
    }
    for (const watch of [...this.watchers]) watch();
  }
}
