/** Names that come from outside are keys of plain objects; those that every object has ("constructor") would find what nobody put there. */
export const isReservedName = (name: string): boolean => name in Object.prototype;
