/** The descriptor on which a background session says that it is ready, or why it is not. */
export const readyDescriptor = 3
