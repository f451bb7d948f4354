"""Derive the three populations of the cosmic infrared background.

Planck 2013 results XXX (A&A 571, A30) fits an extended halo model to the spectra of
the CIB. Below stand the C_l of its best fit, clustered part only, as its authors hand
it out (repository `rkeisler/cib_planck`, file `data/all_best_fit.txt`), at some
multipoles and for all pairs of the channels 100 to 857 GHz, and the shot noise of
Table 6. All are in Jy^2/sr and calibrated for a source of constant nu I_nu, so that
they are divided by the colour corrections of the CIB first.

A population has the modified black body of one temperature. With three of them, and one
emissivity index, at each multipole

    C_l(nu, nu') = sum_i f_i(nu) f_i(nu') C_l^i,    f_i(nu_i) = 1,

is linear in the C_l^i, which are found by least squares over the relative errors of all
pairs, without negative ones. Temperatures and index minimise what is left. The index comes
out at 1.7; the paper has 1.75 +- 0.06 (Table 9). With two populations only, channels far
apart in frequency would correlate too little, by up to 0.1.

Run `python docs/derivations/cib_populations.py`; it prints index, temperatures, spectra, and
the ratio of the fit to the model. Tests hold the numbers kept in the code to these.
"""

import numpy as np
from scipy.constants import h, k
from scipy.optimize import least_squares, nnls

GHZ = np.array([100.0, 143.0, 217.0, 353.0, 545.0, 857.0])
REFERENCES = (857.0, 545.0, 217.0)
"""Frequencies nu_i."""

COLOUR = np.array([1.076, 1.017, 1.119, 1.097, 1.068, 0.995])
"""Colour corrections of the CIB, section 5 of the paper: published calibration over truth."""

# fmt: off
MODEL = {
    50.056: (4.0445, 12.892, 54.894, 226.38, 637.98, 1244.9, 41.109, 175.18, 723.52, 2043.9, 4005.2,
        747.53, 3096.1, 8784.4, 17346, 12895, 36909, 74008, 1.0709e5, 2.199e5, 4.7061e5),
    77.171: (4.103, 13.053, 55.379, 226.66, 630.84, 1201.4, 41.541, 176.37, 722.93, 2016.6, 3856,
        749.85, 3081.7, 8632.6, 16628, 12734, 35970, 70310, 1.0295e5, 2.0588e5, 4.2855e5),
    95.819: (3.8604, 12.269, 51.955, 211.82, 585.83, 1102.6, 39.006, 165.3, 674.89, 1870.8, 3534.9,
        701.42, 2871.4, 7992.4, 15212, 11818, 33168, 64061, 94309, 1.8635e5, 3.8321e5),
    118.97: (3.4449, 10.938, 46.244, 187.9, 516.89, 963.39, 34.745, 147, 598.15, 1649.1, 3086,
        622.73, 2540.7, 7033.9, 13259, 10421, 29093, 55653, 82286, 1.6106e5, 3.2822e5),
    183.42: (2.4185, 7.6735, 32.396, 131.27, 359.56, 665.26, 24.356, 102.9, 417.56, 1146.4, 2129.6,
        435.35, 1771.4, 4883.6, 9139.6, 7246.5, 20148, 38270, 56763, 1.1033e5, 2.2326e5),
    282.78: (1.6583, 5.2586, 22.177, 89.644, 244.42, 447.47, 16.681, 70.398, 284.95, 778.61, 1430.8,
        297.5, 1207.2, 3311.8, 6128.6, 4923.8, 13615, 25548, 38116, 73092, 1.4562e5),
    435.97: (0.95425, 3.021, 12.703, 51.046, 137.98, 249.22, 9.5678, 40.259, 162.02, 438.94, 796.06,
        169.68, 684.71, 1863, 3404.7, 2778, 7623.2, 14143, 21200, 40264, 79698),
    672.13: (0.52622, 1.6658, 7.0034, 28.128, 75.916, 136.5, 5.2754, 22.193, 89.258, 241.43, 435.79,
        93.556, 377.26, 1024.7, 1864, 1529.1, 4187.3, 7727.9, 11614, 21930, 43146),
    1036.2: (0.25182, 0.79737, 3.3539, 13.489, 36.516, 66.212, 2.5258, 10.632, 42.822, 116.2, 211.58,
        44.909, 181.44, 494.79, 909.27, 737.15, 2028.1, 3786.2, 5657.8, 10828, 21663),
    1597.5: (0.12833, 0.40645, 1.7105, 6.8882, 18.703, 34.197, 1.2878, 5.424, 21.878, 59.553, 109.39,
        23.004, 93.134, 255.09, 474.24, 379.37, 1049.2, 1984.8, 2946.4, 5729.3, 11704),
    2462.9: (0.070649, 0.22411, 0.94591, 3.8329, 10.517, 19.639, 0.71122, 3.0044, 12.195, 33.55, 62.948,
        12.888, 52.567, 145.81, 278.09, 215.81, 604.81, 1174.9, 1722.7, 3444.4, 7248.6),
    3797.1: (0.045352, 0.14411, 0.6102, 2.4891, 6.9048, 13.158, 0.45813, 1.9415, 7.9335, 22.067, 42.252,
        8.5107, 35.011, 98.478, 192.77, 144.99, 412.12, 821.7, 1190.7, 2442.7, 5264.9),
    5253.6: (0.036511, 0.11608, 0.49199, 2.0109, 5.5951, 10.714, 0.36921, 1.5662, 6.4125, 17.89, 34.417,
        7.0406, 29.072, 82.258, 162.65, 120.84, 345.48, 695.49, 1003.6, 2076.8, 4505.2),
}
"""C_l by multipole, pairs of channels in the order of `np.triu_indices(6)`."""

HELD_OUT = {
    62.152: (4.1564, 13.236, 56.262, 231.17, 647.51, 1248.4, 42.167, 179.37, 738.08, 2072.2, 4011.6,
        764.03, 3152.5, 8888.5, 17336, 13079, 37193, 73635, 1.0718e5, 2.1718e5, 4.5828e5),
    147.72: (2.9291, 9.2951, 39.254, 159.15, 436.32, 808.52, 29.508, 124.71, 506.34, 1391.3, 2588.6,
        527.74, 2148.5, 5928.4, 11112, 8794.1, 24471, 46554, 69001, 1.3434e5, 2.7241e5),
    227.75: (1.997, 6.3363, 26.753, 108.41, 296.9, 548.59, 20.113, 84.979, 344.85, 946.53, 1755.8,
        359.54, 1462.9, 4031.8, 7532.5, 5983.5, 16627, 31511, 46795, 90680, 1.8266e5),
    351.12: (1.3081, 4.1432, 17.434, 70.155, 189.94, 343.54, 13.127, 55.276, 222.74, 604.37, 1097.3,
        233.1, 941.69, 2565.5, 4692, 3824, 10503, 19486, 29217, 55440, 1.0948e5),
    541.32: (0.69556, 2.2035, 9.277, 37.372, 101.39, 184.13, 6.9835, 29.421, 118.69, 322.71, 588.37,
        124.18, 502.29, 1371.5, 2519.3, 2042.5, 5622.9, 10479, 15679, 29885, 59259),
    834.55: (0.36659, 1.1596, 4.8688, 19.508, 52.501, 94.189, 3.6697, 15.419, 61.873, 166.9, 300.7,
        64.957, 261.42, 708.54, 1287.7, 1058, 2893.1, 5341.8, 8022.1, 15186, 30058),
    1286.6: (0.18198, 0.57619, 2.4233, 9.7444, 26.376, 47.845, 1.8251, 7.6816, 30.935, 83.932, 152.91,
        32.485, 131.25, 358.02, 659.01, 533.32, 1468, 2746.8, 4099.5, 7872.2, 15843),
    1983.6: (0.093188, 0.29543, 1.2455, 5.0348, 13.756, 25.455, 0.937, 3.9536, 16.008, 43.848, 81.514,
        16.854, 68.53, 189.04, 356.33, 280.39, 781.12, 1498.8, 2210.4, 4361.6, 9048.3),
    3058.1: (0.05511, 0.17497, 0.7398, 3.0086, 8.3059, 15.694, 0.55581, 2.352, 9.5816, 26.524, 50.361,
        10.185, 41.731, 116.64, 225.73, 172.13, 486.19, 958.59, 1396, 2833.4, 6049.7),
}
"""C_l at other multipoles, for tests."""
# fmt: on

SHOT_NOISE = {
    143: (1.2, 4.3, 15, 35, 56),
    217: (16, 59, 135, 216),
    353: (225, 543, 913),
    545: (1454, 2655),
    857: (5628,),
}
"""By channel, with itself and the channels above it; 100 GHz is not in the table."""

SHOT_WEIGHT = 3.0
"""The shot noise counts as much as nine multipoles."""


def matrix(pairs: tuple[float, ...]) -> np.ndarray:
    """Return the spectra of all pairs at one multipole as a symmetric matrix, without colour corrections."""
    full = np.zeros((6, 6))
    full[np.triu_indices(6)] = pairs
    full = np.maximum(full, full.T)
    return full / np.outer(COLOUR, COLOUR)


def shot_noise() -> np.ndarray:
    """Return the shot noise as `matrix` does; NaN where it is not published."""
    pairs = np.full((6, 6), np.nan)
    for place, row in enumerate(SHOT_NOISE.values(), start=1):
        pairs[place, place:] = pairs[place:, place] = row
    return pairs / np.outer(COLOUR, COLOUR)


def factors(index: float, temperatures: np.ndarray) -> np.ndarray:
    """Return f_i of the channels, shape (3, 6)."""

    def black_body(ghz: np.ndarray | float, kelvin: float) -> np.ndarray:
        return ghz ** (3 + index) / np.expm1(h * ghz * 1e9 / (k * kelvin))

    pairs = zip(temperatures, REFERENCES, strict=True)
    return np.array([black_body(GHZ, kelvin) / black_body(ghz, kelvin) for kelvin, ghz in pairs])


def fit(spectra: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return C^i of one multipole, and the relative errors of the pairs."""
    first, second = np.triu_indices(6)
    published = spectra[first, second]
    known = np.isfinite(published)
    design = (f[:, first] * f[:, second])[:, known].T / published[known, None]
    parts, _ = nnls(design, np.ones(known.sum()))
    return parts, design @ parts - 1


def derived() -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return index, temperatures in K (3,), C_l^i by multipole (n, 3), and shot noise (3,)."""
    spectra = [matrix(pairs) for pairs in MODEL.values()]

    def errors(parameters: np.ndarray) -> np.ndarray:
        f = factors(parameters[0], parameters[1:])
        return np.concatenate([*(fit(each, f)[1] for each in spectra), SHOT_WEIGHT * fit(shot_noise(), f)[1]])

    best = least_squares(errors, (1.6, 20.0, 10.0, 6.0)).x
    index, temperatures = round(best[0], 2), np.round(best[1:], 1)
    f = factors(index, temperatures)
    return index, temperatures, np.array([fit(each, f)[0] for each in spectra]), fit(shot_noise(), f)[0]


def main() -> None:
    """Print the populations, and how well they reproduce the auto-spectra."""
    index, temperatures, clustered, shot = derived()
    f = factors(index, temperatures)
    print("index", index, "temperatures [K]", *temperatures)
    rows = zip([*map(str, MODEL), "shot"], [*clustered, shot], strict=True)
    for (name, parts), published in zip(rows, [*map(matrix, MODEL.values()), shot_noise()], strict=True):
        ratio = np.diag((f.T * parts) @ f / published)
        print(f"{name:>8s}", *(f"{part:10.4g}" for part in parts), " ratio", np.round(ratio, 3))


if __name__ == "__main__":
    main()
