/** Asking a server again and again while only the answer to the last question counts. */

export interface Listener<A> {
  /** A question is on its way, or no longer. */
  waiting(waiting: boolean): void;
  answered(answer: A): void;
  failed(message: string): void;
}

/**
 * Asks one question at a time. A question asked meanwhile waits, and takes the place of one that
 * waited before it; answers to questions that are no longer the last are dropped.
 */
export class Asking<Q, A> {
  #running = false;
  #next: { question: Q } | null = null;
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly ask: (question: Q) => Promise<A>,
    readonly listener: Listener<A>,
  ) {}

  /** Asks at once. */
  now(question: Q): void {
    clearTimeout(this.#timer);
    this.#last += 1;
    this.listener.waiting(true);
    if (this.#running) this.#next = { question };
    else void this.#run(question);
  }

  /** Asks when nothing new came for some time; what is on its way no longer counts. */
  soon(question: Q, milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#last += 1;
    this.#next = null;
    this.#timer = setTimeout(() => this.now(question), milliseconds);
  }

  /** Forgets what was asked. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#last += 1;
    this.#next = null;
    this.listener.waiting(false);
  }

  async #run(question: Q): Promise<void> {
    const turn = this.#last;
    this.#running = true;
    try {
      const answer = await this.ask(question);
      if (turn === this.#last) this.listener.answered(answer);
    } catch (error) {
      if (turn === this.#last) {
        this.listener.failed(error instanceof Error ? error.message : String(error));
      }
    }
    this.#running = false;
    const next = this.#next;
    this.#next = null;
    if (next) void this.#run(next.question);
    else if (turn === this.#last) this.listener.waiting(false);
  }
}
