// The object's one alarm, and timers for what is due too soon for it. An alarm outlives the object, a timer does not; so
// an alarm stands whenever anything must still happen, and none when nothing must. Setting one costs a row written: it is
// left alone where it comes early enough.

/** What is due sooner gets a timer, so that the object need not be woken through its storage. */
const SHORT_MS = 1_000;

/** While something is under way without a deadline, the alarm that would wake the object if it is lost. */
const SAFETY_MS = 30_000;

/** An alarm that comes this much too late is left alone. */
const SLACK_MS = 250;

/** An alarm that was due so long ago comes no more: the runtime gives one up that failed too often. */
const OVERDUE_MS = 15_000;

export class Wakeup {
  #storage;
  #wake;
  /** When the alarm comes, in milliseconds since 1970. @type {number | null} */
  #alarmAt = null;
  #timerAt = Infinity;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #timer = null;
  /** How often it was set or removed: each is billed as a row written. */
  alarmsSet = 0;

  /** @param {DurableObjectStorage} storage @param {() => void} wake */
  constructor(storage, wake) {
    this.#storage = storage;
    this.#wake = wake;
  }

  /** Finds the alarm that a former life left. */
  async begin() {
    this.#alarmAt = await this.#storage.getAlarm();
  }

  /** The alarm has come, so none is set. */
  came() {
    this.#alarmAt = null;
  }

  /** @param {number | null} afterMs the machine's deadline @param {boolean} isBusy something is under way */
  want(afterMs, isBusy) {
    const now = Date.now();
    if (afterMs !== null && afterMs < SHORT_MS) {
      this.#setTimer(now + afterMs);
    } else {
      this.end();
    }
    if (afterMs !== null) {
      this.#setAlarm(now + Math.max(afterMs, SHORT_MS));
    } else if (isBusy) {
      this.#setAlarm(now + SAFETY_MS);
    } else if (this.#alarmAt !== null) {
      this.#alarmAt = null;
      this.alarmsSet += 1;
      this.#storage.deleteAlarm();
    }
  }

  /** Whether a timer runs. */
  get hasTimer() {
    return this.#timerAt !== Infinity;
  }

  /** No timer any more. */
  end() {
    if (this.#timerAt === Infinity) return;
    clearTimeout(this.#timer);
    this.#timerAt = Infinity;
  }

  /** @param {number} at */
  #setTimer(at) {
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      this.#wake();
    }, Math.max(0, at - Date.now()));
  }

  /** @param {number} at */
  #setAlarm(at) {
    const stands = this.#alarmAt;
    if (stands !== null && stands > Date.now() - OVERDUE_MS && stands <= at + SLACK_MS) return;
    this.#alarmAt = at;
    this.alarmsSet += 1;
    this.#storage.setAlarm(at);
  }
}
