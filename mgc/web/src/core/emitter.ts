/** A small typed event source. Listeners run synchronously, in order of registration. */
export class Emitter<M> {
  private readonly listeners = new Map<keyof M, Set<(value: never) => void>>();

  /** Calls `fn` for every later event of this kind. Returns the function that ends it. */
  on<K extends keyof M>(kind: K, fn: (value: M[K]) => void): () => void {
    let set = this.listeners.get(kind);
    if (!set) {
      set = new Set();
      this.listeners.set(kind, set);
    }
    set.add(fn as (value: never) => void);
    return () => set.delete(fn as (value: never) => void);
  }

  protected emit<K extends keyof M>(kind: K, value: M[K]): void {
    for (const fn of [...(this.listeners.get(kind) ?? [])]) {
      (fn as (value: M[K]) => void)(value);
    }
  }
}
