import numpy as np
import pytest

from cmbml.science.spectra import PowerSpectra, TheorySpectra, dl_factor

LMAX = 6
ELL = np.arange(LMAX + 1)


def spectra(scaling="cl", *, lensed=False, names=("TT", "EE", "TE", "PP")):
    values = {name: 1.0 + ELL + index for index, name in enumerate(names)}
    return PowerSpectra(values, scaling=scaling, lensed=lensed)


@pytest.mark.parametrize(
    ("name", "at_3"),
    # l = 3: 12 / 2pi, 12^2 / 2pi, 12^1.5 / 2pi
    [
        ("TT", 1.909859),
        ("EE", 1.909859),
        ("TE", 1.909859),
        ("PP", 22.918312),
        ("PT", 6.615947),
        ("PE", 6.615947),
    ],
)
def test_dl_factor_by_hand(name, at_3):
    factor = dl_factor(name, LMAX)
    assert factor.shape == (LMAX + 1,)
    assert factor[0] == 0
    assert factor[3] == pytest.approx(at_3, rel=1e-6)


@pytest.mark.parametrize("name", ["TT", "EE", "TE", "PP"])
def test_cl_and_dl_differ_by_the_factor(name):
    kept = spectra()
    np.testing.assert_allclose(kept.dl(name), kept.cl(name) * dl_factor(name, LMAX), rtol=1e-14)


@pytest.mark.parametrize("name", ["TT", "TE", "PP"])
def test_dl_to_cl_and_back_is_the_identity_above_the_monopole(name):
    kept = spectra("dl")
    np.testing.assert_allclose(kept.cl(name)[1:] * dl_factor(name, LMAX)[1:], kept.dl(name)[1:], rtol=1e-14)
    assert kept.cl(name)[0] == 0


def test_values_keep_their_scaling():
    assert np.array_equal(spectra("cl").cl("TT"), 1.0 + ELL)
    assert np.array_equal(spectra("dl").dl("TT"), 1.0 + ELL)


def test_the_order_of_letters_does_not_matter():
    assert np.array_equal(spectra().cl("ET"), spectra().cl("TE"))


def test_fields_and_lmax_are_read_off_the_values():
    assert spectra().lmax == LMAX
    assert spectra().fields == "TEP"
    assert spectra(names=("PP",)).fields == "P"


def test_a_missing_spectrum_is_named_with_those_there_are():
    with pytest.raises(KeyError, match=r"spectrum BB: not among TT, EE, TE, PP"):
        spectra().cl("BB")
    with pytest.raises(KeyError, match=r"spectrum BB: not among"):
        spectra().dl("BB")


def test_no_spectrum_at_all_is_refused():
    with pytest.raises(ValueError, match=r"power spectra need at least one spectrum"):
        PowerSpectra({}, scaling="cl", lensed=False)


@pytest.mark.parametrize("other", [np.ones(LMAX), np.ones((LMAX + 1, 1)), np.float64(1)])
def test_spectra_of_different_shape_are_refused(other):
    with pytest.raises(ValueError, match=r"power spectra must be arrays over ell of one length; got shapes"):
        PowerSpectra({"TT": np.ones(LMAX + 1), "EE": other}, scaling="cl", lensed=False)


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match=r"scaling 'Dl': must be 'cl' or 'dl'"):
        spectra("Dl")


def test_unlensed_spectra_may_be_lensed():
    kept = spectra(lensed=False)
    assert kept.require_unlensed() is kept


def test_lensed_spectra_are_not_lensed_again():
    with pytest.raises(ValueError, match=r"lensed spectra cannot be lensed again"):
        spectra(lensed=True).require_unlensed()


def test_a_theory_holds_its_spectra_before_and_after_lensing():
    theory = TheorySpectra(unlensed=spectra(), lensed=spectra(lensed=True))
    assert theory.unlensed.require_unlensed().lmax == LMAX


def test_a_theory_may_hold_lensed_spectra_alone():
    theory = TheorySpectra(unlensed=None, lensed=spectra(lensed=True))
    assert theory.lensed.lmax == LMAX
    with pytest.raises(ValueError, match="only lensed spectra are known, from which no unlensed sky"):
        theory.require_unlensed()
    with pytest.raises(ValueError, match="one set must be unlensed and the other lensed"):
        TheorySpectra(unlensed=None, lensed=spectra())


@pytest.mark.parametrize(("unlensed", "lensed"), [(False, False), (True, True), (True, False)])
def test_a_theory_with_its_spectra_swapped_is_refused(unlensed, lensed):
    with pytest.raises(ValueError, match=r"theory spectra: one set must be unlensed and the other lensed"):
        TheorySpectra(unlensed=spectra(lensed=unlensed), lensed=spectra(lensed=lensed))
